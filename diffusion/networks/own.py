"""A user's own network in place of a built-in one: an NNX module, its class, or a plain function with parameters."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fewstep.diffusion.adapters import ByName, argument_names, hashable
from fewstep.diffusion.arrays import AnyArray, Number
from fewstep.diffusion.denoiser import Cond
from fewstep.errors import UsageError

PROTOCOL = ("x", "t", "d", "cond", "key")
# What a class or a function of a network may take.
OPTIONS = ("shape", "classes", "rngs", "jumps", "guided", "variance")


class Named(nnx.Module):
    """A module whose arguments are passed by name (`adapters.ARGUMENTS`)."""

    def __init__(self, inner: Any, classes: int = 0):
        self.inner, self.classes = inner, classes
        self.names = _trained_names(inner)
        if "params" in self.names:
            raise UsageError(f"{type(inner).__name__} has an argument 'params', but a module holds its own parameters")

    def __call__(self, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None) -> jax.Array:
        """As every network: x (B, ...), t and d scalar or (B,)."""
        return ByName(self.inner, self.names, self.classes)(None, x, t, d, cond, key)


class Function(nnx.Module):
    """A function of (params, x, t, ...) with its trainable parameters."""

    def __init__(self, function: Callable[..., Any], params: Any, classes: int = 0):
        self.function, self.classes = hashable(function), classes
        self.names = _trained_names(function)
        if "params" not in self.names:
            raise UsageError("a trained function takes its parameters as an argument: f(params, x, t)")
        if not jax.tree.leaves(params):
            raise UsageError("params has no arrays: there is nothing to train")
        self.params = nnx.data(jax.tree_util.tree_map_with_path(_parameter, params))

    def __call__(self, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: jax.Array | None = None) -> jax.Array:
        """As every network: x (B, ...), t and d scalar or (B,)."""
        values = jax.tree.map(lambda p: p[...], self.params, is_leaf=lambda p: isinstance(p, nnx.Param))
        return ByName(self.function, self.names, self.classes)(values, x, t, d, cond, key)


def _parameter(path, value):
    if not jnp.issubdtype(getattr(value, "dtype", type(value)), jnp.floating):
        raise UsageError(
            f"params{jax.tree_util.keystr(path)} is not an array of floats, and cannot be trained: got "
            f"{getattr(value, 'dtype', type(value).__name__)}; the function may hold it itself"
        )
    return nnx.Param(jnp.asarray(value))


def _trained_names(network):
    names = argument_names(network)
    if "sigma" in names:
        raise UsageError("a trained network has no argument sigma, which may be infinite: take the time t")
    return names


def constructor(network: Any, params: Any = None) -> Callable[..., nnx.Module]:
    """The function (shape, classes, rngs=...) -> module that an Experiment calls.

    network: an NNX module; a class or a function that returns one, called with those of `OPTIONS` that it has as
    parameters; or with `params`, a pytree of arrays of floats, a function f(params, x, t, ...).  Modules have
    `__call__(x, t, ...)`, with the arguments of `adapters.ARGUMENTS` that they need.  Raises UsageError for anything
    else.
    """
    if params is None and not isinstance(network, nnx.Module) and not callable(network):
        raise UsageError(f"network is an NNX module, its class, or a function with params: got {network!r}")

    def made(shape, classes, **options):
        if params is not None:
            module = Function(network, params, classes)
        elif isinstance(network, nnx.Module):
            module = _adapted(nnx.clone(network), classes)
        else:
            module = _adapted(_called(network, {"shape": shape, "classes": classes, **options}), classes)
        if options.get("jumps") and "d" not in getattr(module, "names", PROTOCOL):
            raise UsageError("the objective trains jumps: the network must have an argument d, the length of a jump")
        if options.get("guided") and "cond" not in getattr(module, "names", PROTOCOL):
            raise UsageError("guidance is an input of the network: it must have an argument cond, with cond.guidance")
        return module

    return made


def _called(network, options):
    """The module that a class or a function returns, called with the options that it has as parameters."""
    parameters = _parameters(network)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, p in parameters.items():
        if name not in OPTIONS and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise UsageError(
                f"the network has a parameter {name!r}, but it is made with {', '.join(OPTIONS)}: set {name!r} with "
                f"functools.partial, or pass an instance; a function f(params, x, t) needs params as well"
            )
    module = network(**{name: value for name, value in options.items() if takes_all or name in parameters})
    if not isinstance(module, nnx.Module):
        raise UsageError("network returns no NNX module: pass params with a plain function, f(params, x, t)")
    return module


def _parameters(network):
    """The parameters that a class, a function or a functools.partial of one still has, by name."""
    if isinstance(network, partial):
        left = list(_parameters(network.func).items())[len(network.args) :]
        return {name: p for name, p in left if name not in network.keywords}
    if inspect.isclass(network):
        return dict(list(inspect.signature(network.__init__).parameters.items())[1:])  # without self
    return dict(inspect.signature(network).parameters)


def _adapted(module, classes):
    names = tuple(inspect.signature(module).parameters) if callable(module) else ()
    return module if names[: len(PROTOCOL)] == PROTOCOL else Named(module, classes)
