"""Denoisers from functions of other codes: arguments are passed by name, and PyTorch runs in a host callback."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.arrays import AnyArray, Number, check_output, over
from fewstep.diffusion.denoiser import Cond, Denoiser
from fewstep.diffusion.prediction import X0, Prediction
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError

ARGUMENTS = {
    "params": "the parameters passed with the function",
    "x": "(B, ...) the state; with `sigma` it is x / alpha",
    "t": "(B,) the time, from 0 (data) to 1 (noise)",
    "sigma": "(B,) the noise level sigma / alpha",
    "d": "(B,) the length t - s of a jump, 0 for a velocity; None for models without jumps",
    "label": "(B,) int32 classes; the number of classes is the null class, also where no labels are given",
    "cond": "all conditioning of the network, a `Cond`",
    "key": "(B,) PRNG keys for dropout, or None",
}
FRAMEWORKS = ("jax", "numpy", "torch")


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a function that are among ARGUMENTS; others keep their defaults.

    Raises UsageError for another argument without a default, and for a function without x.
    """
    name = getattr(function, "__name__", type(function).__name__)
    rule = f"arguments are passed by name, and the names are {', '.join(ARGUMENTS)}. Wrap it: lambda x, t: {name}(...)"
    try:
        parameters = inspect.signature(function).parameters.values()
    except TypeError:
        raise UsageError(f"a network is a function, such as f(x, t): got {function!r}") from None
    except ValueError:  # a function in C
        raise UsageError(f"{name} does not tell the names of its arguments: {rule}") from None
    names = tuple(p.name for p in parameters if p.name in ARGUMENTS and p.kind is not p.POSITIONAL_ONLY)
    for p in parameters:
        if p.name not in names and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise UsageError(f"{name} has an argument {p.name!r}{' before /' * (p.name in ARGUMENTS)}: {rule}")
    if "x" not in names:
        raise UsageError(f"{name} has no argument 'x', the state: {rule}")
    return names


def hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or for an object that has no hash its method `__call__`, whose hash is that of its identity."""
    try:
        hash(function)
    except TypeError:
        return function.__call__
    return function


@dataclass(frozen=True)
class ByName:
    """A network that calls `function` with its arguments `names`, a subset of ARGUMENTS."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    classes: int = 0
    process: Process | None = None  # for sigma

    def __call__(
        self, params: Any, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: Array | None = None
    ) -> Array:
        batch = len(x)
        values: dict[str, Any] = {"params": params, "x": x, "cond": cond, "key": key}
        values["label"] = jnp.full(batch, self.classes, jnp.int32) if cond.label is None else cond.label
        values["t"] = jnp.broadcast_to(t, (batch,))
        values["d"] = None if d is None else jnp.broadcast_to(d, (batch,))
        if "sigma" in self.names and self.process is not None:
            alpha, sigma = self.process.alpha(values["t"]), self.process.sigma(values["t"])
            values["sigma"], values["x"] = sigma / alpha, x / over(alpha, x)
        return self.function(**{name: values[name] for name in self.names})


@dataclass(frozen=True)
class OnHost:
    """A function of another framework, called on the host.  PyTorch gets images with channels first, on the device of
    the module's first parameter."""

    function: Callable[..., Any]
    framework: str

    def __call__(self, x: Array, **others: Any) -> Array:
        # Once on two images of ones while JAX traces: an error of the function is raised as it is, whereas JAX would
        # turn one in the callback into a JaxRuntimeError.
        first = jax.tree.map(lambda a: np.ones((2, *a.shape[1:]), a.dtype), {"x": x, **others})
        with jax.ensure_compile_time_eval():  # the function may compute with JAX on the host
            self._call(first.pop("x"), first)
        return jax.pure_callback(
            self._call, jax.ShapeDtypeStruct(x.shape, x.dtype), x, others, vmap_method="sequential"
        )

    def _call(self, x: Any, others: Mapping[str, Any]) -> np.ndarray:
        arrays = {"x": np.array(x), **{name: np.array(value) for name, value in others.items()}}
        if self.framework == "numpy":
            found = self.function(**arrays)
            check_output(found, x.shape, x.shape)
            return np.asarray(found, x.dtype)
        import torch  # pyright: ignore[reportMissingImports]  # optional

        arrays["x"] = _channels(arrays["x"], -1, 1)
        parameters = getattr(self.function, "parameters", tuple)()
        device = next((parameter.device for parameter in parameters), None)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)).to(device) for name, a in arrays.items()}
        if "label" in tensors:
            tensors["label"] = tensors["label"].long()
        with torch.no_grad():
            found = self.function(**tensors)
        check_output(found, arrays["x"].shape, arrays["x"].shape)
        return np.ascontiguousarray(_channels(found.cpu().numpy(), 1, -1), x.dtype)


def _channels(images, now, then):
    return np.moveaxis(images, now, then) if images.ndim == 4 else images


def as_denoiser(
    function: Callable,
    process: Process,
    prediction: Prediction = X0,
    *,
    params: Any = None,
    classes: int = 0,
    framework: str = "jax",
) -> Denoiser:
    """A function such as f(x, t), f(x, sigma), f(x, t, label) or f(params, x, t) as a denoiser.

    Its arguments are passed by name (`ARGUMENTS`); with `sigma` the function gets x / alpha at the noise level
    sigma / alpha, as EDM's denoisers do.  It returns an array of the shape of x, which `prediction` defines: the clean
    image by default, or EPS, V, VELOCITY, SCORE.

    params: a pytree of arrays, passed to jitted functions as an argument; pass large parameters here, not in a closure.
    classes: the number of classes of the labels.  Without labels, `label` is the null class, `classes`, for all images.
    framework: "torch" or "numpy" for a function of that library, which is called on the host, and once more, on two
    images of ones, when JAX first traces it for a shape; torch gets images with channels first.

    Raises UsageError for what does not fit.
    """
    _check_made(process, Process, "such as fewstep.VP()")
    _check_made(prediction, Prediction, "one of X0, EPS, V, VELOCITY, SCORE, edm(...) of fewstep")
    if framework not in FRAMEWORKS:
        raise UsageError(f"framework is one of {', '.join(FRAMEWORKS)}: got {framework!r}")
    names = argument_names(getattr(function, "forward", function) if framework == "torch" else function)
    if "label" in names and not classes:
        raise UsageError("the function has an argument label: pass the number of classes, such as classes=10")
    if "sigma" in names:
        _check_sigma(process, prediction)
    if framework != "jax":
        if {"params", "cond", "key", "d"} & {*names}:
            raise UsageError(
                f"a function of {framework} takes x, t, sigma and label only, and holds its own parameters"
            )
        function = OnHost(hashable(function), framework)
    if "params" in names and params is None:
        raise UsageError("the function has an argument params: pass its parameters, params=weights")
    if "params" not in names and params is not None:
        raise UsageError(f"the function takes {', '.join(names)}, but no params: write f(params, x, t)")
    network = ByName(hashable(function), names, classes, process)
    return Denoiser.from_function(network, {} if params is None else params, process, prediction, classes=classes)


def _check_made(value, kind, choice):
    """Raises UsageError unless the value is an instance of the kind."""
    if not isinstance(value, kind):
        hint = f"write {value.__name__}()" if callable(value) and hasattr(value, "__name__") else choice
        raise UsageError(f"{value!r} is not a {kind.__name__.lower()}: {hint}")


def _check_sigma(process, prediction):
    """Raises UsageError where sigma / alpha is not what the network is conditioned on."""
    if process.alpha(process.ends[0]) == 0:
        raise UsageError(
            f"{type(process).__name__} starts at alpha = 0, where sigma / alpha is infinite: take t instead of sigma, "
            f"or as_denoiser(f, fewstep.VE()).under({type(process).__name__}())"
        )
    if type(prediction).clock is not Prediction.clock:
        raise UsageError(f"with {prediction} a network is conditioned on its own variable, not on sigma: take t")
