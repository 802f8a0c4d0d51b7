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
from fewstep.diffusion.networks.featured import Featured
from fewstep.errors import UsageError


@dataclass(frozen=True)
class Apply:
    """A network without its parameters; equal, and with equal hash, for every build of the same network."""

    graph: nnx.GraphDef

    def __call__(
        self, params: Any, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> jax.Array:
        """The output of the network with these parameters, of the shape of x, in float32."""
        return nnx.merge(self.graph, params)(x, t, d, cond, key)

    def with_features(
        self, params: Any, x: jax.Array, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The output, and the features of the middle of the network (B, F); None from a network that returns none."""
        module: Any = nnx.merge(self.graph, params)
        if isinstance(module, Featured) and module.returns_features:
            return module.with_features(x, t, d, cond, key)
        return module(x, t, d, cond, key), None

    @cached_property
    def _hash(self) -> int:
        return hash(self.graph)

    # Cached, because the hash of a graph traverses every module, and jit computes it at every call.
    def __hash__(self) -> int:
        return self._hash


def split(module: nnx.Module) -> tuple[Apply, dict[str, Any]]:
    """(apply, params) of a module whose only state is parameters; params is nested dicts of arrays.

    Members of a list have integer keys.  A checkpoint restored without a target returns them as strings, which Apply
    would sort alphabetically: restore into `abstract`.  Raises UsageError for other state: the averages of a BatchNorm,
    the random keys of a Dropout(rngs=...), constant arrays.
    """
    graph, params, others = nnx.split(module, nnx.Param, ...)
    if held := _held(module, others):
        raise UsageError(
            f"the network holds {', '.join(held)} besides its parameters, which are all that is trained and saved: "
            f"replace BatchNorm by GroupNorm, pass Dropout its keys when it is called (the argument key), and compute "
            f"constant arrays in __call__"
        )
    return Apply(graph), nnx.to_pure_dict(params)


def _held(module, others):
    """The names of other state than parameters, with the types of their modules: ["norm.mean (BatchNorm)", ...]."""
    modules = dict(nnx.iter_modules(module))
    paths = [path for path, _ in nnx.to_flat_state(others)]
    for at, inner in modules.items():  # JAX's arrays that are attributes; they are not part of the state
        paths += [(*at, name) for name, value in vars(inner).items() if isinstance(value, jax.Array)]
    owners = {path: next(path[:n] for n in range(len(path))[::-1] if path[:n] in modules) for path in paths}
    return [f"{'.'.join(map(str, path))} ({type(modules[at]).__name__})" for path, at in owners.items()]


def axes(module: nnx.Module) -> dict[str, Any]:
    """The logical axis names of each parameter of a module, which may be abstract: a PartitionSpec per leaf.

    A module names them in the metadata of its variables, axes=("embed", "hidden"); other parameters have no names.
    """
    _, params = nnx.split(module, nnx.Param)
    names = jax.tree.map(
        lambda p: PartitionSpec(*p.get_metadata().get("axes", ())),
        params,
        is_leaf=lambda p: isinstance(p, nnx.Variable),
    )
    return nnx.to_pure_dict(names)


def fused_heads(module: nnx.Module) -> dict[str, int]:
    """The numbers of heads of the kernels of a module, which may be abstract, that compute queries, keys and values,
    outputs (heads, 3, size), by name: {"blocks.0.attention.qkv.kernel": 6}.

    A module gives them in the metadata of its kernel, heads=6.
    """
    _, params = nnx.split(module, nnx.Param)
    known = {".".join(map(str, path)): p.get_metadata().get("heads") for path, p in nnx.to_flat_state(params)}
    return {name: heads for name, heads in known.items() if heads}


class _OneKey(nnx.RngStream):
    def __call__(self) -> jax.Array:
        return self.key[...]


def one_key() -> nnx.Rngs:
    """Keys that are all the same, to build a network for its shapes: counting keys is most of what that costs."""
    rngs = nnx.Rngs()
    rngs.default = _OneKey(0, tag="default")  # pyright: ignore[reportAttributeAccessIssue]
    return rngs


def abstract(build: Callable[[], nnx.Module]) -> tuple[Apply, dict[str, Any]]:
    """`split` of build(), with jax.ShapeDtypeStruct leaves; nothing is computed."""
    return split(nnx.eval_shape(build))
