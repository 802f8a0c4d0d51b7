"""Sealing the files of a run: those of earlier versions have no seal, and the seal of an edited one does not fit."""

from collections.abc import Callable
from functools import partial

from etils import epath

from fewstep.train.utils import npz, sealed
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import JSON, read_text, write_atomic

FILES = ("config.gin", "run.json", "data.npz", "classifier.npz", "stats/*.json", "stats/*.npz", "compare/table.json")


def seal(folder: epath.PathLike, changed: bool = True) -> dict[str, str]:
    """Seal the files of a run that are unsealed, and those that have `changed` since they were written; returns {name:
    "unsealed" or "changed"} of those that were sealed now.

    Raises Damaged for a file that says nothing; where only unsealed files are sealed, it is passed over.
    """
    done, folder = {}, epath.Path(folder)
    for path in (path for pattern in FILES for path in sorted(folder.glob(pattern))):
        try:
            whole, write = _state(path)
        except Damaged:
            if changed:
                raise
            continue  # whatever reads it says so
        if whole is None or (changed and not whole):
            write()
            done[str(path.relative_to(folder))] = "unsealed" if whole is None else "changed"
    return done


def _state(path) -> tuple[bool | None, Callable[[], None]]:
    """Whether the seal of a file fits (None: it has none), and what seals it."""
    if path.suffix == ".gin":
        text, whole = sealed.config_parts(read_text(path))
        return whole, partial(sealed.write_config, path, text)
    if path.suffix == ".npz":
        arrays, whole = npz.parts(path)
        return whole, partial(npz.write, path, **arrays)
    try:
        value, whole = sealed.json_parts(read_text(path, JSON))
        return whole, partial(write_atomic, path, sealed.sealed_json(dict(value), indent=1))
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, Damaged) else Damaged(path, f"is damaged ({error})") from None
