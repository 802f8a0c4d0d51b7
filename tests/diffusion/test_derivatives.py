"""Forward-mode derivatives of the networks in x, t and d, which MeanFlow is learned by."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion import Cond
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D, split

NETWORKS = {
    "unet": (UNet, (8, 8, 1), {"base": 8, "blocks": 1, "attention": (4,)}),
    "unet2d": (UNet2D, (8, 8, 1), {"channels": (8, 8), "blocks": 1, "attention": (4,), "groups": 4}),
    "dit": (DiT, (8, 8, 1), {"width": 16, "depth": 2, "heads": 2}),
    "dit rotary": (DiT, (8, 8, 1), {"width": 16, "depth": 1, "heads": 2, "positions": "rotary", "remat": True}),
    "dit waves": (DiT, (8, 8, 1), {"width": 16, "depth": 1, "heads": 2, "waves": 32, "jump_layers": True}),
    "mlp": (MLP, (4,), {"width": 16, "depth": 2}),
}
LONG = ("unet", "unet2d", "dit rotary")  # to compile
every = pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in NETWORKS])


@cache
def along(name, dtype):
    """U(u) with x, t and d moved by u along a direction, and its derivative at 0 by forward mode."""
    network, shape, options = NETWORKS[name]
    apply, params = split(network(shape, 3, **options, jumps=True, dtype=dtype, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape).astype(np.float32), params)
    x, v = rng.standard_normal((2, 3, *shape)).astype(np.float32)
    t, d, label = jnp.array([0.2, 0.5, 0.9]), jnp.array([0.1, 0.0, 0.7]), Cond(np.int32([0, 1, 3]))

    @jax.jit
    def moved(u):
        return apply(params, x + u * v, t + 0.02 * u, d + 0.02 * u, label)

    return moved, jax.jit(lambda: jax.jvp(moved, (0.0,), (1.0,))[1])()


@every
def test_they_are_what_small_steps_show(name):
    moved, slope = along(name, "float32")
    step = 3e-3
    shown = (moved(step) - moved(-step)) / (2 * step)
    assert np.linalg.norm(slope - shown) < 5e-3 * np.linalg.norm(shown)
    assert np.linalg.norm(shown) > 0.1


@every
def test_half_precision_tells_nearly_the_same(name):
    _, slope = along(name, "float32")
    _, half = along(name, "bfloat16")
    assert half.dtype == jnp.float32
    assert np.linalg.norm(half - slope) < 0.05 * np.linalg.norm(slope)
