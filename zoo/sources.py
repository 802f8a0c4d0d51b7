"""The sources of foreign models, and which one a path is of."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from fewstep.errors import UsageError, lookup
from fewstep.zoo.files import read
from fewstep.zoo.found import Found

# Modules of this folder; those of FILES look into weights to recognise them, and are handed what reads them.
FOLDERS = ("diffusers_dit", "diffusers")
FILES = ("edm", "guided_diffusion", "dit", "meanflow")


class Source(NamedTuple):
    """The functions of a module and its presets."""

    recognises: Callable[[Path], bool]
    find: Callable[[Path, str | None, str | None], Found]
    presets: Mapping[str, Any]


def find(path: Path, name: str | None = None, weights: str | None = None) -> Found:
    """The model at a path.

    name: a preset, for files that do not say what they are.  weights: which of several sets of weights.  Raises
    UsageError for what no source opens.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist: give a folder or a file of weights; nothing is downloaded")
    return _source(_sources(), path, name).find(path, name, weights)


def _sources() -> list[Source]:
    """All of them; together they read a file once."""
    once = {"read": cache(read)}  # for as long as these functions live
    return [_imported(name) for name in FOLDERS] + [_imported(name, **once) for name in FILES]


def _imported(name: str, **options: Any) -> Source:
    module = import_module(f"fewstep.zoo.{name}")
    return Source(partial(module.recognises, **options), partial(module.find, **options), module.PRESETS)


def _source(sources: list[Source], path, name) -> Source:
    presets = {preset: source for source in sources for preset in source.presets}
    if name in presets:
        return presets[name]
    if (path / "config.gin").exists():
        raise UsageError(f"{path} is of fewstep: a run needs no import, and an export opens by the run that it is of")
    known = next((source for source in sources if source.recognises(path)), None)
    if name is not None:
        if known is not None and not known.presets:
            raise UsageError(f"{path} says itself which model it holds: leave out --as {name}")
        return lookup("preset", name, presets)
    if known is None:
        examples = [next(iter(source.presets)) for source in sources if source.presets]
        raise UsageError(
            f"{path} does not say which model it holds: if docs/import.md lists it, add --as NAME, such as "
            f"{', '.join(examples)}; else wrap its network, as that page shows"
        )
    return known
