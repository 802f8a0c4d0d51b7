"""The device mesh, and the sharding of batches, parameters and training states on it."""

import math
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fewstep.diffusion.networks.layers import EMBED, HIDDEN
from fewstep.errors import UsageError
from fewstep.train.state import State

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the mesh axes that shard the batch
# The mesh axes that shard the parameters.  fsdp: every device stores a shard and gathers the parameters for a step
# (ZeRO, arXiv:1910.02054: moments, averages and gradients stay sharded); tensor: every device computes a part of each
# block (Megatron, arXiv:1909.08053).
RULES = {EMBED: "fsdp", HIDDEN: "tensor"}


def make_mesh(shape: tuple = (-1, 1, 1)) -> Mesh:
    """A device mesh with axes (data, fsdp, tensor); one size may be -1, which uses all remaining devices.

    Without -1 the mesh has the first prod(shape) devices.  Raises UsageError if there are too few devices, or if a
    process would have none.
    """
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in shape)
    if len(shape) != len(AXES) or not whole or sum(s == -1 for s in shape) > 1 or any(s < 1 and s != -1 for s in shape):
        raise UsageError(f"mesh = {shape}: give three numbers of devices, (data, fsdp, tensor); one may be -1")
    devices, known = jax.devices(), math.prod(size for size in shape if size != -1)
    if known > len(devices) or (-1 in shape and len(devices) % known):
        needs = f"a multiple of {known}" if -1 in shape else str(known)
        raise UsageError(f"mesh = {tuple(shape)} needs {needs} devices, but there are {len(devices)}")
    sizes = tuple(len(devices) // known if size == -1 else size for size in shape)
    used = devices[: math.prod(sizes)]
    if len({device.process_index for device in used}) < jax.process_count():
        raise UsageError(
            f"mesh = {tuple(shape)} leaves some processes without devices: use all {len(devices)}, for example with -1"
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=used)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding with the same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: the leading axis over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def parameter_shardings(shapes: Any, axes: Any, mesh: Mesh) -> Any:
    """The sharding of each parameter, by RULES from the logical names of its axes (`networks.axes`).

    An axis whose size the mesh axis does not divide is not sharded.
    """

    def placed(a, names):
        parts = [RULES.get(name) for name in names]
        parts = [
            part if part and size % mesh.shape[part] == 0 else None for size, part in zip(a.shape, parts, strict=False)
        ]
        return NamedSharding(mesh, PartitionSpec(*parts))

    return jax.tree.map(placed, shapes, axes)


def gathered(placed: NamedSharding) -> NamedSharding:
    """The sharding of a parameter while it is used: gathered over fsdp.

    It is a constraint for XLA, which otherwise chooses slower communication (a step of configs/digits/flow.gin on
    1x8x1: 73 all-gathers, 41 all-reduces and 7 exchanges instead of 40 all-gathers and 42 all-reduces).
    """
    return NamedSharding(placed.mesh, PartitionSpec(*(None if part == "fsdp" else part for part in placed.spec)))


def state_shardings(shapes: State, params: Any, optimizer: optax.GradientTransformation, mesh: Mesh) -> Any:
    """A State of shardings: averages, moments and teachers are sharded like the parameters, the rest is replicated.

    Moments with fewer elements are sharded along the axes that they share with the parameter.
    """
    whole = replicated(mesh)

    def moment(a, placed, parameter):
        if not isinstance(a, jax.ShapeDtypeStruct) or a.shape == parameter.shape:
            return placed if isinstance(a, jax.ShapeDtypeStruct) else a
        sides = zip(placed.spec, a.shape, parameter.shape, strict=False)
        return NamedSharding(mesh, PartitionSpec(*(part if size == full else None for part, size, full in sides)))

    moments = optax.tree_map_params(
        optimizer,
        moment,
        shapes.opt_state,
        params,
        shapes.params,
        transform_non_params=lambda _: whole,
        is_leaf=lambda a: isinstance(a, optax.MaskedNode),
    )
    ema, frozen = (
        {name: {group: params[group] for group in groups} for name, groups in some.items()}
        for some in (shapes.ema, shapes.frozen)
    )
    everywhere: Any = whole
    memory = jax.tree.map(lambda _: whole, shapes.memory)
    return State(everywhere, everywhere, params, ema, frozen, moments, memory)


def device_share(shapes: Any, placed: Any) -> float:
    """The fraction of all elements of a tree of `shapes` that one device holds."""
    parts = jax.tree.map(lambda a, s: math.prod(s.shard_shape(a.shape)), shapes, placed)
    return sum(jax.tree.leaves(parts)) / sum(math.prod(a.shape) for a in jax.tree.leaves(shapes))


def device_bytes(shapes: Any, placed: Any) -> int:
    """The bytes of a tree of `shapes` that one device holds."""
    parts = jax.tree.map(lambda a, s: math.prod(s.shard_shape(a.shape)) * a.dtype.itemsize, shapes, placed)
    return sum(jax.tree.leaves(parts))


def local_rows(mesh: Mesh, size: int) -> np.ndarray:
    """The rows of a batch of `size` that the devices of this process hold."""
    held = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[rows] for rows in held]))


def global_batch(mesh: Mesh, batch: Any, size: int) -> Any:
    """The global batch of `size` rows, assembled from the `local_rows` of every process."""

    def whole(part):
        return jax.make_array_from_process_local_data(batch_sharding(mesh), part, (size, *part.shape[1:]))

    return jax.tree.map(whole, batch)
