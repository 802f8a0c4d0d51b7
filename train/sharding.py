"""The device mesh and what lies where on it."""

import math

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")


def make_mesh(shape=(1, 1, 1)):
    """A mesh of the first prod(shape) devices with the axes data, fsdp and tensor.

    Raises ValueError where there are fewer devices than that.
    """
    if len(shape) != len(AXES) or not all(isinstance(size, int) and size >= 1 for size in shape):
        raise ValueError(f"mesh = {shape}: give three whole numbers of devices, (data, fsdp, tensor)")
    devices, needed = jax.devices(), math.prod(shape)
    if needed > len(devices):
        raise ValueError(f"mesh = {shape} needs {needed} devices, and there are {len(devices)}")
    return jax.make_mesh(tuple(shape), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices[:needed])


def replicated(mesh):
    """The same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh):
    """The leading axis divided over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
