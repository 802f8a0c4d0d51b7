"""Splits a module once into a static function and a dict of arrays, so that jax.jit sees arrays and one hash."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from flax import nnx
from jax.sharding import PartitionSpec

from fewstep.diffusion.arrays import Number
from fewstep.diffusion.denoiser import Cond


@dataclass(frozen=True)
class Apply:
    """A network without its parameters; equal, and with equal hash, for every build of the same network."""

    graph: nnx.GraphDef

    def __call__(
        self, params: Any, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> jax.Array:
        """The output of the network with these parameters, of the shape of x, in float32."""
        return nnx.merge(self.graph, params)(x, t, d, cond, key)

    @cached_property
    def _hash(self) -> int:
        return hash(self.graph)

    # Cached, because the hash of a graph traverses every module, and jit computes it at every call.
    def __hash__(self) -> int:
        return self._hash


def split(module: nnx.Module) -> tuple[Apply, dict[str, Any]]:
    """(apply, params) of a module whose only state is parameters; params is nested dicts of arrays.

    Members of a list have integer keys.  A checkpoint restored without a target returns them as strings, which Apply
    would sort alphabetically: restore into `abstract`.  Raises ValueError if the module has other state (random keys).
    """
    graph, params = nnx.split(module, nnx.Param)
    return Apply(graph), nnx.to_pure_dict(params)


def axes(build: Callable[[], nnx.Module]) -> dict[str, Any]:
    """The logical axis names of each parameter of build(), a PartitionSpec per leaf; nothing is computed.

    A module names them in the metadata of its variables, axes=("embed", "hidden"); other parameters have no names.
    """
    _, params = nnx.split(nnx.eval_shape(build), nnx.Param)
    names = jax.tree.map(
        lambda p: PartitionSpec(*p.get_metadata().get("axes", ())),
        params,
        is_leaf=lambda p: isinstance(p, nnx.Variable),
    )
    return nnx.to_pure_dict(names)


def abstract(build: Callable[[], nnx.Module]) -> tuple[Apply, dict[str, Any]]:
    """`split` of build(), with jax.ShapeDtypeStruct leaves; nothing is computed."""
    return split(nnx.eval_shape(build))
