"""The sources of foreign models, and which one a path is of."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from fewstep.errors import UsageError, lookup
from fewstep.zoo.found import Found

SOURCES = ("diffusers_dit", "diffusers", "edm", "guided_diffusion", "dit", "meanflow")  # modules of this folder


def find(path: Path, name: str | None = None, weights: str | None = None) -> Found:
    """The model at a path.

    name: a preset, for files that do not say what they are.  weights: which of several sets of weights.  Raises
    UsageError for what no source opens.
    """
    sources = {source: import_module(f"fewstep.zoo.{source}") for source in SOURCES}
    if not path.exists():
        raise UsageError(f"{path} does not exist: give a folder or a file of weights; nothing is downloaded")
    return _source(sources, path, name).find(path, name, weights)


def _source(sources: dict[str, ModuleType], path, name) -> ModuleType:
    presets = {preset: source for source in sources.values() for preset in source.PRESETS}
    if name is not None:
        return lookup("preset", name, presets)
    for source in sources.values():
        if source.recognises(path):
            return source
    raise UsageError(
        f"{path} does not say which model it is of: add --as NAME, one of {', '.join(presets)}; or wrap the network "
        f"that it belongs to, as docs/import.md shows"
    )
