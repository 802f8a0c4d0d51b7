"""DDPM's posterior q(x_s | x_t, x0) and what drawing from another normal law instead of it costs (Ho et al. 2020,
arXiv:2006.11239).  All answer in kind: NumPy on the host, JAX on the device."""

from fewstep.diffusion.arrays import namespace


def posterior(process, t, s):
    """(moved, inner) of q(x_s | x_t, x0): its mean moves by `moved` per unit of x0, its variance is `inner`."""
    h = process.lam(s) - process.lam(t)
    gone = -namespace(h).expm1(-2 * h)
    return process.alpha(s) * gone, process.sigma(s) ** 2 * gone


def large(process, t, moved, inner):
    """The variance of a step that is exact for N(0, I) data: on a variance-preserving process beta_t, the larger one of
    section 3.2."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return inner + (moved * sigma) ** 2 / (alpha**2 + sigma**2)


def divergence(moved, inner, var, square):
    """Nats per element of KL(q | p), where p has the variance `var` and the mean that D gives; `square` is (x0 - D)^2,
    or its expectation."""
    return 0.5 * (namespace(var).log(var / inner) + (inner + moved**2 * square) / var - 1)
