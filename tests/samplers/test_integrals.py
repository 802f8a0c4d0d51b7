"""Weights of a multistep method: exact on polynomials, whatever the density."""

import numpy as np
import pytest
from scipy.integrate import quad

from fewstep.samplers.integrals import weights


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.0, 7.0])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_exact_on_polynomials(n, rate):
    nodes = np.array([0.0, -0.4, -1.1, -1.3])[:n]
    found = weights(nodes, 0.0, 0.7, lambda u: np.exp(rate * u))
    for k in range(n):
        exact = quad(lambda u, k=k: np.exp(rate * u) * u**k, 0.0, 0.7, epsabs=0, epsrel=1e-12)[0]
        assert found @ nodes**k == pytest.approx(exact, rel=1e-12, abs=1e-14)


def test_equal_steps_have_the_weights_of_adams_and_bashforth():
    found = weights([0.0, -1.0, -2.0, -3.0], 0.0, 1.0)
    np.testing.assert_allclose(found, np.array([55, -59, 37, -9]) / 24, rtol=1e-13)
