"""DDPM's posterior q(x_s | x_t, x0), and the divergence of other normal distributions from it (Ho et al. 2020,
arXiv:2006.11239).  All functions take and return NumPy arrays on the host, JAX arrays on the device."""

from typing import Any

from fewstep.diffusion.arrays import Number, NumberT, namespace
from fewstep.diffusion.process import Process


def posterior(process: Process, t: NumberT, s: NumberT) -> tuple[NumberT, NumberT]:
    """(moved, inner) of q(x_s | x_t, x0): `moved` is the coefficient of x0 in its mean, `inner` its variance."""
    h = process.lam(s) - process.lam(t)
    gone = -namespace(h).expm1(-2 * h)
    return process.alpha(s) * gone, process.sigma(s) ** 2 * gone


def large(process: Process, t: NumberT, moved: NumberT, inner: NumberT) -> NumberT:
    """The variance of a step that is exact for N(0, I) data: on a variance-preserving process beta_t, the larger
    variance of DDPM section 3.2."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return inner + (moved * sigma) ** 2 / (alpha**2 + sigma**2)


def divergence(moved: Number, inner: Number, var: Number, square: Number) -> Any:
    """KL(q | p) in nats per element, where p has the variance `var` and the posterior mean with D in place of x0;
    `square` is (x0 - D)^2, or its expectation."""
    return 0.5 * (namespace(var).log(var / inner) + (inner + moved**2 * square) / var - 1)
