"""DDPM's posterior against Bayes' rule, and the divergence against an integral."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from fewstep.diffusion import VE, VP, Cosine, Linear
from fewstep.diffusion.posterior import divergence, large, posterior

PROCESSES = {"linear": Linear(), "vp": VP(), "ve": VE(), "cosine": Cosine()}
every = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


@every
def test_it_is_bayes_rule(process):
    """x_t = (alpha_t / alpha_s) x_s + noise; the product of that with q(x_s | x0), both normal in x_s."""
    t, s, x0, xt = 0.7, 0.3, 0.4, -0.9
    ratio = process.alpha(t) / process.alpha(s)
    step = process.sigma(t) ** 2 - ratio**2 * process.sigma(s) ** 2
    precision = 1 / process.sigma(s) ** 2 + ratio**2 / step

    def mean(x0):
        return (process.alpha(s) * x0 / process.sigma(s) ** 2 + ratio * xt / step) / precision

    moved, inner = posterior(process, t, s)
    assert inner == pytest.approx(1 / precision)
    assert moved == pytest.approx(mean(x0 + 1) - mean(x0))


@every
def test_the_large_variance_is_exact_for_standard_normal_data(process):
    t, s = 0.7, 0.3
    at, st, as_, ss = process.alpha(t), process.sigma(t), process.alpha(s), process.sigma(s)
    shared = at * as_ + (at / as_) * ss**2  # Cov(x_t, x_s)
    left = as_**2 + ss**2 - shared**2 / (at**2 + st**2)  # Var[x_s | x_t]
    assert large(process, t, *posterior(process, t, s)) == pytest.approx(left)


def test_on_a_variance_preserving_process_it_is_beta():
    t, s = 0.7, 0.3
    beta = 1 - (VP().alpha(t) / VP().alpha(s)) ** 2
    assert large(VP(), t, *posterior(VP(), t, s)) == pytest.approx(beta)


def test_the_divergence_is_the_integral():
    moved, inner, var, off = 0.3, 0.2, 0.5, 0.7
    p, q = norm(moved * off, np.sqrt(var)), norm(0, np.sqrt(inner))
    want = quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -6, 6)[0]
    assert divergence(moved, inner, var, off**2) == pytest.approx(want)
    best = inner + moved**2 * off**2
    assert divergence(moved, inner, best, off**2) < min(divergence(moved, inner, best * f, off**2) for f in (0.9, 1.1))
