"""The optimizers on eight devices and on one."""

import math
from collections.abc import Callable

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from fewstep.train.optimizers import OPTIMIZERS
from fewstep.train.sharding import device_share, make_mesh, state_shardings
from fewstep.train.state import initial_state


def same_optimizers(steps: int, assert_close: Callable) -> None:
    """Every optimizer divides its state as the parameters, and moves them as on one device.

    Under gradients of its own: signs, and adam, would make much of the rounding of gradients that are nearly zero.
    """
    qkv, rng = "mix.qkv.kernel", np.random.default_rng(0)
    kernels = {"conv": (3, 3, 16, 16), "qkv": (16, 96), "stem": (16, 32), "label": (10, 16), "norm": (16,)}
    names = {"conv": "kernel", "qkv": "kernel", "stem": "kernel", "label": "embedding", "norm": "scale"}

    def tree(make):
        leaves = {part: {names[part]: make(shape)} for part, shape in kernels.items()}
        return {"net": {"mix": {"qkv": leaves.pop("qkv")}} | leaves}

    def spec(shape, mesh):
        axes = ("fsdp", "tensor")[-len(shape) :] if shape[0] != 10 else (None, "tensor")
        return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) - len(axes)), *axes))

    start, *grads = [tree(lambda shape: np.float32(rng.standard_normal(shape))) for _ in range(steps + 1)]
    for name, make in OPTIMIZERS.items():
        optimizer = make(steps, spectral_decay=0.1, **({"heads": {qkv: 2}} if name == "muon" else {}))
        found = []
        for size in ((1, 1, 1), (2, 2, 2)):
            mesh = make_mesh(size)
            placed = tree(lambda shape, mesh=mesh: spec(shape, mesh))
            shapes = jax.eval_shape(lambda optimizer=optimizer: initial_state(start, ("0.9",), optimizer))
            moments_placed = state_shardings(shapes, placed, optimizer, mesh).opt_state
            params = jax.device_put(start, placed)
            moments = jax.jit(optimizer.init, out_shardings=moments_placed)(params)
            update = jax.jit(optimizer.update, out_shardings=(placed, moments_placed))
            for of_step in grads:
                updates, moments = update(jax.device_put(of_step, placed), moments, params)
                params = optax.apply_updates(params, updates)
            found.append((params, moments))
            if name != "amos":  # whose moments are few
                assert device_share(jax.eval_shape(lambda p: p, moments), moments_placed) < 0.1 + 1 / math.prod(
                    size[1:]
                )
        assert_close(found[0], found[1], name)
