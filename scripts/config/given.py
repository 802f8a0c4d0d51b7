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

import numpy as np
import optax
from etils import epath

from fewstep.diffusion.networks.own import constructor
from fewstep.errors import UsageError
from fewstep.train.data import Dataset, arrays
from fewstep.train.data.kept import FILE, kept

PARTS = ("network", "data", "objective", "optimizer", "process", "prediction", "variance", "pairs")
VALUES = ("objective", "process", "prediction", "variance")  # used as they are, not called

Make = Callable[[int], optax.GradientTransformation]  # of the number of steps

_GIVEN: ContextVar[tuple[Mapping[str, Any], bool]] = ContextVar("given", default=({}, False))


def parts_given(text: str) -> list[str]:
    """The parts that a config, given as text, refers to as given in Python."""
    return [name for name in PARTS if f"@{name}/given_in_python" in text]


def kept_parts(folder: epath.Path, text: str) -> dict[str, Any]:
    """The parts that are kept in the folder of a run with this config, as `handing_over` takes them: its data, if they
    were arrays."""
    here = "data" in parts_given(text) and (folder / FILE).exists()
    return {"data": lambda: kept(folder)} if here else {}


@contextmanager
def handing_over(parts: Mapping[str, Any], trust: bool = False) -> Iterator[None]:
    """Within it, `given_in_python` is these parts, {"network": ...}; with `trust` others are imported by their path."""
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
        trusted = "; or give trust=True to import it" if path else "; or define it in a file, not in a notebook"
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
    if part == "optimizer":
        return _optimizer(value)
    if isinstance(value, np.generic):
        return value.item()
    return value() if part in VALUES and inspect.isclass(value) else value


def _optimizer(value: optax.GradientTransformation | Make) -> Make:
    if isinstance(value, optax.GradientTransformation):
        return lambda steps: value
    if not callable(value) or next(iter(inspect.signature(value).parameters), "") != "steps":
        raise UsageError(
            f"optimizer is an optax transformation, so write optax.adam(1e-3), or a function that returns one, whose "
            f"first parameter is called steps and is the number of steps: got {value!r}"
        )
    return value


def _data(value: Any) -> Callable[[], Dataset]:
    if not callable(value):
        return lambda: _dataset(value)
    try:
        inspect.signature(value).bind()
    except TypeError as error:
        raise UsageError(f"data is a function without arguments, but {value!r} cannot be called: {error}") from None
    return lambda: _dataset(value())


def _dataset(value: Any) -> Dataset:
    """A data set, or one of images or of a pair (images, labels); also a list is a pair if its second part is labels,
    one number per image."""
    if isinstance(value, Dataset):
        return value
    if isinstance(value, list) and len(value) == 2 and np.ndim(value[0]) > 1 == np.ndim(value[1]):
        value = tuple(value)
    if not isinstance(value, tuple):
        return arrays(value)
    if len(value) != 2:
        raise UsageError(f"data is images, or a pair (images, labels): got {len(value)} parts")
    return arrays(*value)


def path_of(value: Any) -> str | None:
    """ "module:name" that imports something; None for what a notebook, a script or a closure defines."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or module == "__main__" or "." in name:
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is value else None
