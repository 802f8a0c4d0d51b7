"""The device mesh and what lies where on it."""

import math

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.networks.layers import EMBED, HIDDEN
from fewstep.train.state import State

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the axes that divide the batch
# What divides the parameters.  fsdp: every device keeps a part, and has all of them for the time of a step (ZeRO,
# arXiv:1910.02054: moments, averages and gradients stay divided); tensor: every device computes a part of each block
# (Megatron, arXiv:1909.08053).
RULES = {EMBED: "fsdp", HIDDEN: "tensor"}


def make_mesh(shape=(-1, 1, 1)):
    """A mesh of devices with the axes data, fsdp and tensor; a size of -1 is whatever is left of all devices.

    Without -1 it is of the first prod(shape) devices.  UsageError where there are not enough, and where a process of
    several would be left without.
    """
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in shape)
    if len(shape) != len(AXES) or not whole or sum(s == -1 for s in shape) > 1 or any(s < 1 and s != -1 for s in shape):
        raise UsageError(f"mesh = {shape}: give three whole numbers of devices, (data, fsdp, tensor); one may be -1")
    devices, known = jax.devices(), math.prod(size for size in shape if size != -1)
    if known > len(devices) or (-1 in shape and len(devices) % known):
        needs = f"a multiple of {known}" if -1 in shape else str(known)
        raise UsageError(f"mesh = {tuple(shape)} needs {needs} devices, and there are {len(devices)}")
    sizes = tuple(len(devices) // known if size == -1 else size for size in shape)
    used = devices[: math.prod(sizes)]
    if len({device.process_index for device in used}) < jax.process_count():
        raise UsageError(f"mesh = {tuple(shape)} leaves processes without devices: use all {len(devices)}, as with -1")
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=used)


def replicated(mesh):
    """The same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh):
    """The leading axis divided over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def parameters(shapes, axes, mesh):
    """The sharding of each parameter, from the logical names of its axes (`networks.axes`) by RULES.

    An axis that its part of the mesh does not divide stays whole.
    """

    def placed(a, names):
        parts = [RULES.get(name) for name in names]
        parts = [
            part if part and size % mesh.shape[part] == 0 else None for size, part in zip(a.shape, parts, strict=False)
        ]
        return NamedSharding(mesh, PartitionSpec(*parts))

    return jax.tree.map(placed, shapes, axes)


def collected(placed: NamedSharding):
    """How a parameter lies while it is used: brought together over fsdp.

    Said to XLA, because left alone it finds worse ways (a step of configs/digits/flow.gin on 1x8x1: 73 gathers, 41 sums
    and 7 exchanges instead of 40 gathers and 42 sums).
    """
    return NamedSharding(placed.mesh, PartitionSpec(*(None if part == "fsdp" else part for part in placed.spec)))


def states(shapes: State, params, optimizer, mesh) -> State:
    """The sharding of a state: averages, moments and teachers lie as the parameters do, the rest is everywhere."""
    whole = replicated(mesh)
    moments = optax.tree_map_params(
        optimizer,
        lambda a, s: s if isinstance(a, jax.ShapeDtypeStruct) else a,
        shapes.opt_state,
        params,
        transform_non_params=lambda _: whole,
        is_leaf=lambda a: isinstance(a, optax.MaskedNode),
    )
    frozen = {name: {group: params[group] for group in kept} for name, kept in shapes.frozen.items()}
    return State(whole, whole, params, dict.fromkeys(shapes.ema, params), frozen, moments)


def share(shapes, placed) -> float:
    """The part of all numbers of a tree of `shapes` that lies on one device."""
    parts = jax.tree.map(lambda a, s: math.prod(s.shard_shape(a.shape)), shapes, placed)
    return sum(jax.tree.leaves(parts)) / sum(math.prod(a.shape) for a in jax.tree.leaves(shapes))


def own_rows(mesh, size) -> np.ndarray:
    """The rows of a batch of `size` that the devices of this process hold."""
    held = batched(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[rows] for rows in held]))


def assembled(mesh, batch, size):
    """The batch of `size` rows of which every process has its `own_rows`."""

    def whole(part):
        return jax.make_array_from_process_local_data(batched(mesh), part, (size, *part.shape[1:]))

    return jax.tree.map(whole, batch)
