"""Denoisers from functions of other codes: arguments are passed by name, and PyTorch runs in a host callback."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.arrays import AnyArray, Number, over
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
    "label": "(B,) int32 classes; the number of classes is the null class",
    "cond": "all conditioning of the network, a `Cond`",
    "key": "(B,) PRNG keys for dropout, or None",
}
FRAMEWORKS = ("jax", "numpy", "torch")


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a function that are among ARGUMENTS; others keep their defaults.

    Raises UsageError for another argument without a default.
    """
    parameters = [
        p for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    names = tuple(p.name for p in parameters if p.name in ARGUMENTS)
    for p in parameters:
        if p.name not in ARGUMENTS and p.default is p.empty:
            name = getattr(function, "__name__", type(function).__name__)
            raise UsageError(
                f"{name} has an argument {p.name!r}: arguments are passed by name, and the names are "
                f"{', '.join(ARGUMENTS)}. Wrap it: lambda x, t: {name}(...)"
            )
    return names


@dataclass(frozen=True)
class ByName:
    """A network that calls `function` with its arguments `names`, a subset of ARGUMENTS."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    process: Process | None = None  # for sigma

    def __call__(
        self, params: Any, x: AnyArray, t: Number, d: Number | None, cond: Cond, key: Array | None = None
    ) -> Array:
        batch = len(x)
        values: dict[str, Any] = {"params": params, "x": x, "cond": cond, "key": key, "label": cond.label}
        values["t"] = jnp.broadcast_to(t, (batch,))
        values["d"] = None if d is None else jnp.broadcast_to(d, (batch,))
        if "sigma" in self.names and self.process is not None:
            alpha, sigma = self.process.alpha(values["t"]), self.process.sigma(values["t"])
            values["sigma"], values["x"] = sigma / alpha, x / over(alpha, x)
        return self.function(**{name: values[name] for name in self.names})


@dataclass(frozen=True)
class OnHost:
    """A function of another framework, called on the host.  PyTorch gets images with channels first."""

    function: Callable[..., Any]
    framework: str

    def __call__(self, x: Array, **others: Any) -> Array:
        return jax.pure_callback(
            self._call, jax.ShapeDtypeStruct(x.shape, x.dtype), x, others, vmap_method="sequential"
        )

    def _call(self, x: Any, others: Mapping[str, Any]) -> np.ndarray:
        arrays = {"x": np.array(x), **{name: np.array(value) for name, value in others.items()}}
        if self.framework == "numpy":
            return np.asarray(self.function(**arrays), arrays["x"].dtype)
        import torch  # pyright: ignore[reportMissingImports]  # optional

        arrays["x"] = _channels(arrays["x"], -1, 1)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        if "label" in tensors:
            tensors["label"] = tensors["label"].long()
        with torch.no_grad():
            found = self.function(**tensors).cpu().numpy()
        return np.ascontiguousarray(_channels(found, 1, -1), np.asarray(x).dtype)


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
    classes: the number of classes of the labels.  framework: "torch" or "numpy" for a function of that library, which
    is called on the host; torch gets images with channels first.

    Raises UsageError for unknown arguments.
    """
    if framework not in FRAMEWORKS:
        raise UsageError(f"framework is one of {', '.join(FRAMEWORKS)}: got {framework!r}")
    names = argument_names(getattr(function, "forward", function) if framework == "torch" else function)
    if "label" in names and not classes:
        raise UsageError("the function has an argument label: pass the number of classes, such as classes=10")
    if framework != "jax":
        if {"params", "cond", "key", "d"} & {*names}:
            raise UsageError(
                f"a function of {framework} takes x, t, sigma and label only, and holds its own parameters"
            )
        function = OnHost(function, framework)
    network = ByName(function, names, process)
    return Denoiser.from_function(network, {} if params is None else params, process, prediction, classes=classes)
