"""Parts of a run that were given in Python and that a config cannot name: they are passed in when it is opened.

In config.gin such a part is a reference to `given_in_python`, in the scope of its name:

    network/given_in_python.path = "my_nets:MyNet"
    train.network = @network/given_in_python
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import optax
from numpy.typing import ArrayLike

from fewstep.diffusion.networks.own import constructor
from fewstep.errors import UsageError
from fewstep.train.data import Dataset, arrays

PARTS = ("network", "data", "objective", "optimizer", "process", "prediction", "variance", "pairs")
VALUES = ("objective", "process", "prediction", "variance")  # used as they are, not called

_GIVEN: ContextVar[tuple[Mapping[str, Any], bool]] = ContextVar("given", default=({}, False))


@contextmanager
def handing_over(parts: Mapping[str, Any], trust: bool = False) -> Iterator[None]:
    """Within it, `given_in_python` is these parts, {"network": ...}; with `trust` others are imported by their path."""
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise UsageError(f"{unknown[0]} is not a part of a run: the parts are {', '.join(PARTS)}")
    token = _GIVEN.set((parts, trust))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def given_in_python(*arguments: Any, part: str = "", path: str | None = None, **options: Any) -> Any:
    """The part that was handed over, or that `path`, "module:name", imports; UsageError if there is neither."""
    parts, trust = _GIVEN.get()
    if part in parts:
        value = parts[part]
    elif path and trust:
        module, _, name = path.partition(":")
        sys.path.insert(0, "")
        try:
            value = usable(part, getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the {part} {path} cannot be imported ({error}): start in the folder of its file"
            ) from None
        finally:
            sys.path.remove("")
    else:
        known = f" ({path})" if path else ""
        trusted = "; or add --trust to import it" if path else "; or define it in a file, not in a notebook"
        raise UsageError(
            f"the {part} of this run was given in Python{known}: pass it, fewstep.open_run(folder, {part}=...){trusted}"
        )
    return value if part in VALUES else value(*arguments, **options)


def usable(part: str, value: Any, params: Any = None) -> Any:
    """What an Experiment takes for a part that a user gives: arrays become a data set, modules their constructor."""
    if part == "network":
        return constructor(value, params)
    if part == "data":
        return _data(value)
    if part == "optimizer" and isinstance(value, optax.GradientTransformation):
        return lambda steps: value
    return value() if part in VALUES and inspect.isclass(value) else value


def _data(value: Dataset | Callable[[], Dataset] | ArrayLike | tuple[ArrayLike, ArrayLike]) -> Callable[[], Dataset]:
    if isinstance(value, Dataset):
        return lambda: value
    if callable(value):
        return value
    images, labels = value if isinstance(value, tuple) else (value, None)
    return lambda: arrays(images, labels)


def path_of(value: Any) -> str | None:
    """ "module:name" that imports something; None for what a notebook, a script or a closure defines."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or module == "__main__" or "." in name:
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is value else None
