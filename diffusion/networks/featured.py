"""Networks that also return features of their middle, for samplers that learn from them."""

import jax
from flax import nnx

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.denoiser import Cond


class Featured(nnx.Module):
    """The base of networks with features.  A subclass with a `__call__` of its own has none."""

    def __call__(
        self, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> jax.Array:
        """The output of `with_features`."""
        return self.with_features(x, t, d, cond, key)[0]

    def with_features(
        self, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """The output, of the shape of x, and features (B, F), both in float32."""
        raise NotImplementedError

    @property
    def returns_features(self) -> bool:
        return type(self).__call__ is Featured.__call__
