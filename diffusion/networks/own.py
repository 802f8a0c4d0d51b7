"""A user's own network in place of a built-in one: an NNX module, its class, or a plain function with parameters."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from fewstep.diffusion.adapters import ByName, argument_names
from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond
from fewstep.errors import UsageError

PROTOCOL = ("x", "t", "d", "cond", "key")


class Named(nnx.Module):
    """A module whose arguments are passed by name (`adapters.ARGUMENTS`)."""

    def __init__(self, inner: nnx.Module):
        self.inner = inner
        self.names = argument_names(inner)  # pyright: ignore[reportArgumentType]  # modules are callable

    def __call__(self, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None) -> jax.Array:
        """As every network: x (B, ...), t and d scalar or (B,)."""
        return ByName(self.inner, self.names)(None, x, t, d, cond, key)  # pyright: ignore[reportArgumentType]


class Function(nnx.Module):
    """A function of (params, x, t, ...) with its trainable parameters."""

    def __init__(self, function: Callable[..., Any], params: Any):
        self.function, self.names = function, argument_names(function)
        if "params" not in self.names:
            raise UsageError("a trained function takes its parameters as an argument: f(params, x, t)")
        self.params = nnx.data(jax.tree.map(nnx.Param, params))

    def __call__(self, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None) -> jax.Array:
        """As every network: x (B, ...), t and d scalar or (B,)."""
        values = nnx.to_pure_dict(nnx.state(self, nnx.Param))["params"]
        return ByName(self.function, self.names)(values, x, t, d, cond, key)


def constructor(network: Any, params: Any = None) -> Callable[..., nnx.Module]:
    """The function (shape, classes, rngs=...) -> module that an Experiment calls.

    network: an NNX module; a class or a function that returns one, called with those of shape, classes, rngs, jumps and
    variance that it has as parameters; or with `params`, a nested dict of arrays, a function f(params, x, t, ...).
    Modules have `__call__(x, t, ...)`, with the arguments of `adapters.ARGUMENTS` that they need.  Raises UsageError
    for anything else.
    """
    if params is not None:
        return lambda shape, classes, *, rngs=None: Function(network, params)
    if isinstance(network, nnx.Module):
        return lambda shape, classes, *, rngs=None: _adapted(nnx.clone(network))
    if not callable(network):
        raise UsageError(f"network is an NNX module, its class, or a function with params: got {network!r}")

    def made(shape, classes, **options):
        given = {"shape": shape, "classes": classes, **options}
        parameters = inspect.signature(network.__init__ if inspect.isclass(network) else network).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in ("jumps", "variance"):
            if options.get(name) and name not in parameters and not takes_all:
                raise UsageError(f"the objective requires a network with the option {name}, which this one lacks")
        module = network(**{name: value for name, value in given.items() if takes_all or name in parameters})
        if not isinstance(module, nnx.Module):
            raise UsageError("network returns no NNX module: pass params with a plain function, f(params, x, t)")
        return _adapted(module)

    return made


def _adapted(module):
    names = tuple(inspect.signature(module).parameters)
    return module if names[: len(PROTOCOL)] == PROTOCOL else Named(module)
