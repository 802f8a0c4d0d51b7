"""Names of functions that have settings, as tables show them: cfg(1.5), ddim(eta=0.5)."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def name_of(function: Any) -> str:
    """The name of a function, of a partial with its settings, or of an object: its own, else that of its class."""
    if isinstance(function, partial) and not hasattr(function, "__name__"):
        return _call(name_of(function.func), function.args, function.keywords)
    return getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__


def named(make: Callable[P, R]) -> Callable[P, R]:
    """A decorator of functions that make a function of settings: what they make has the settings in its name."""

    @wraps(make)
    def made(*arguments: P.args, **settings: P.kwargs) -> R:
        found: Any = make(*arguments, **settings)
        found.__name__ = _call(make.__name__, arguments, settings)
        return found

    shown: Any = made
    shown.__signature__ = inspect.signature(make)  # also for those who do not follow __wrapped__
    return made


def _call(name: str, arguments: Iterable[Any], settings: Mapping[str, Any]) -> str:
    shown = [*map(short, arguments), *(f"{key}={short(value)}" for key, value in settings.items())]
    return f"{name}({', '.join(shown)})"


def short(value: Any) -> str:
    """A value as a message or a table shows it: texts and numbers in full, else a name."""
    value = value.item() if getattr(value, "shape", None) == () else value  # a number of NumPy or JAX
    return repr(value) if isinstance(value, str | int | float | tuple | None) else name_of(value)
