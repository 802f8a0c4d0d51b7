"""What a network is told besides its input: time, class and size of a jump, as one vector an image."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.networks.initializers import unit
from fewstep.diffusion.networks.layers import EMBED, ZEROS, Linear

FEATURES = 64
# Radians per unit of time.  The slowest wave does not repeat within [-5, 5], the range of EDM's c_noise; the fastest
# turns by 0.26 over 1e-3, the smallest time of VP.  Faster ones would only amplify derivatives with respect to time,
# and objectives that learn from these want much slower ones: MeanFlow's error of jumps on digits is 19 with 256, and
# 0.58 with 16.
SLOWEST, FASTEST = 0.25, 256.0


def sinusoids(t, fastest=FASTEST):
    """t (B,), any real numbers -> (B, FEATURES): cosines and sines at geometric frequencies up to `fastest`
    (arXiv:1706.03762 3.5)."""
    frequencies = np.geomspace(SLOWEST, fastest, FEATURES // 2, dtype=np.float32)
    angles = jnp.asarray(t, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class Conditioning(nnx.Module):
    """Time, class and size of a jump, each embedded, summed, and mixed by one more layer; in float32."""

    def __init__(self, classes, width, jumps, fastest, *, rngs):
        if not fastest > SLOWEST:
            raise UsageError(f"a network's fastest wave of time turns by more than {SLOWEST} radians: got {fastest}")
        self.classes, self.fastest = classes, fastest
        whole = (None, None)  # small, and divided they are what XLA moves worst
        self.time = Linear(FEATURES, width, whole, rngs=rngs)
        # Zero at the start: a network that begins with the weights of one without jumps begins as that.
        self.jump = Linear(FEATURES, width, whole, use_bias=False, kernel_init=ZEROS, rngs=rngs) if jumps else None
        self.label = nnx.Embed(classes + 1, width, embedding_init=unit, rngs=rngs) if classes else None
        self.mix = Linear(width, width, (EMBED, None), rngs=rngs)

    def __call__(self, batch, t, d, label):
        """t and d numbers or (batch,), label (batch,) int -> (batch, width).

        d None is 0 and label None the null class.  UsageError when told something it was not built to hear.
        """
        if d is not None and self.jump is None:
            raise UsageError("this network does not know jumps: build it with jumps=True, or leave d None")
        if label is not None and self.label is None:
            raise UsageError("this network does not know labels: build it with classes > 0, or leave cond.label None")
        h = self.time(sinusoids(jnp.broadcast_to(t, (batch,)), self.fastest))
        if self.jump is not None:
            h += self.jump(sinusoids(jnp.broadcast_to(0.0 if d is None else d, (batch,)), self.fastest))
        if self.label is not None:
            h += self.label(jnp.full((batch,), self.classes) if label is None else label)
        return nnx.silu(self.mix(nnx.silu(h)))
