"""The covariance of x0 given x_t from the Jacobian of the network, without training: Cov[x0 | x_t] = sigma^2 / alpha
dD/dx, the second-order Tweedie formula (Efron 2011; Ou et al. 2024, arXiv:2406.10808, train a network for it)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.arrays import AnyArray, Number, over
from fewstep.diffusion.denoiser import Cond, DenoiserLike, Lever, Pred, Wrapper
from fewstep.diffusion.naming import named
from fewstep.ranges import Positive, Range, Seed, checked


def covariance_times(den: DenoiserLike, x: AnyArray, t: Number, v: AnyArray, cond: Cond = Cond()) -> Array:
    """Cov[x0 | x_t] v for x and v (B, ...), by forward-mode differentiation, which costs about two passes; t is a
    number or (B,).

    t is at most process.snr_ends[0], because the derivative does not determine the covariance where alpha = 0.
    """
    process = den.process
    process.check_gaussian("the covariance from the Jacobian")
    t = jnp.minimum(t, process.snr_ends[0])
    _, moved = jax.jvp(lambda x: den(x, t, None, cond).x0, (x,), (v,))
    return process.sigma(over(t, x)) ** 2 / process.alpha(over(t, x)) * moved


@register_dataclass
@dataclass(frozen=True)
class Curvature(Wrapper):
    """Estimates the variance per element: the diagonal of the covariance by Hutchinson's estimator, the mean of
    z (Cov z) over Rademacher vectors z; clipped to [0, bound].

    Each image has its own vectors at each row, from Cond.key and `seed`, so that errors average out over images and
    rows.  Without keys, those of an image depend on its place in the batch.

    Exact if pixels are independent.  Correlated pixels increase the variance of the estimator: the standard deviation
    at an element is the root of the sum of its squared covariances with the others, over the root of `probes`.  Where
    the estimate is below 0 the bound adds a bias, which falls with `probes`.
    """

    inner: Any
    probes: int = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    bound: float = 1.0

    variance_alone = True

    def __call__(self, x: AnyArray, t: Number, s: Number | None = None, cond: Cond = Cond()) -> Pred:
        keys = jax.random.split(jax.random.key(0), len(x)) if cond.key is None else cond.key
        keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, self.seed), self.probes))(keys)

        def product(keys):
            z = jax.vmap(lambda key: jax.random.rademacher(key, x.shape[1:], x.dtype))(keys)
            return z * covariance_times(self.inner, x, t, z, cond)

        found = jax.lax.map(product, keys.swapaxes(0, 1)).mean(0)
        return self.inner(x, t, s, cond)._replace(var=jnp.clip(found, 0.0, self.bound))


@named
@checked
def curvature(probes: Annotated[int, Range(1, 10_000)] = 4, seed: Seed = 0, bound: Positive = 1.0) -> Lever:
    """Pred.var from the Jacobian of the network, for samplers that require a variance; `bound` is ((b - a) / 2)^2 for
    data in [a, b]."""
    return partial(Curvature, probes=int(probes), seed=int(seed), bound=float(bound))
