"""The covariance of x0 given x_t that a network's own Jacobian tells, without training: Cov[x0 | x_t] = sigma^2 / alpha
dD/dx, Tweedie's formula of second order (Efron 2011; Ou et al. 2024, arXiv:2406.10808, train a network for it)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Wrapper
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers.checks import finite


def covariance_times(den, x, t, v, cond=Cond()):
    """Cov[x0 | x_t] v of x and v (B, ...), by forward-mode differentiation, which takes about two passes; t a number or
    (B,).

    Beyond the process's first finite time, where alpha = 0 leaves no derivative, it is that at this time.
    """
    process = den.process
    t = jnp.minimum(t, process.snr_ends[0])
    _, moved = jax.jvp(lambda x: den(x, t, None, cond).x0, (x,), (v,))
    return process.sigma(over(t, x)) ** 2 / process.alpha(over(t, x)) * moved


@register_dataclass
@dataclass(frozen=True)
class Curvature(Wrapper):
    """A denoiser that knows the variance of each element: the diagonal of the covariance, by Hutchinson's estimate,
    mean of z (Cov z) over Rademacher z, which are the same at all calls; within [0, bound].

    Exact where elements are independent; otherwise with a deviation of about the root of the sum of squares of the
    covariances with other elements over the root of `probes`.
    """

    inner: Any
    probes: int = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    bound: float = 1.0

    variance_alone = True

    def __call__(self, x, t, s=None, cond=Cond()):
        def product(key):
            z = jnp.broadcast_to(jax.random.rademacher(key, x.shape[1:], x.dtype), x.shape)
            return z * covariance_times(self.inner, x, t, z, cond)

        found = jax.lax.map(product, jax.random.split(jax.random.key(self.seed), self.probes)).mean(0)
        return self.inner(x, t, s, cond)._replace(var=jnp.clip(found, 0.0, self.bound))


def curvature(probes=4, seed=0, bound=1.0):
    """Pred.var from the network's Jacobian, for samplers that need a variance; `bound` is ((b - a) / 2)^2 for data in
    [a, b]."""
    finite("curvature", probes=probes, seed=seed, bound=bound)
    if probes != int(probes) or probes < 1:
        raise UsageError(f"curvature.probes is a whole number, at least 1: got {probes}")
    if not bound > 0:
        raise UsageError(f"curvature.bound is above 0: got {bound}")
    return partial(Curvature, probes=int(probes), seed=int(seed), bound=float(bound))
