"""Reading what is typed on the command line: numbers, paths, levers."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from etils import epath

from fewstep.cli.errors import UserError
from fewstep.errors import lookup, nearest
from fewstep.train.utils.files import is_remote

if TYPE_CHECKING:
    from fewstep.diffusion.denoiser import Lever


def whole_numbers(text: str, option: str) -> list[int]:
    """ "1,2,4" as numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: write whole numbers separated by commas, such as 1,2,4") from None


def numbers(text: str, option: str, most: float = 1e300) -> list[float]:
    """ "0.5,0.75,1" as numbers, up to `most`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(abs(number) <= most for number in found):
        raise UserError(f"{option} {text!r}: write numbers separated by commas, such as 0.5,0.75,1")
    return found


def words(text: str | None, option: str) -> list[str]:
    """ "ddim,heun" as names, each once; [] of None."""
    found = list(dict.fromkeys(word.strip() for word in text.split(","))) if text is not None else []
    if "" in found:
        raise UserError(f"{option} {text!r}: write names separated by commas")
    return found


def mesh(text: str) -> tuple[int, ...]:
    """ "-1,1,1" as sizes; `train.sharding.make_mesh` checks that there are such devices."""
    return tuple(whole_numbers(text, "--mesh"))


def path(text: epath.PathLike, option: str) -> epath.Path:
    """A local path, or gs://BUCKET/... if gcsfs is installed."""
    if is_remote(text) and not str(text).startswith("gs://"):
        raise UserError(f"{option} {text}: a bucket is written gs://BUCKET/FOLDER; other stores are not supported")
    if is_remote(text) and find_spec("gcsfs") is None:
        raise UserError(f"{option} {text}: buckets need gcsfs: pip install gcsfs")
    return epath.Path(text)


def writable(folder: epath.PathLike, option: str) -> epath.Path:
    """A folder that results can be written to, created if needed (buckets have none); UserError if that fails."""
    folder = path(folder, option)
    if not is_remote(folder):
        with writing(folder, option):
            folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(folder: epath.PathLike, option: str) -> Iterator[None]:
    """A UserError if writing to the folder fails; libraries for buckets raise errors of their own."""
    try:
        yield
    except Exception as error:
        if not is_remote(folder) and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{option}: cannot make the folder {folder}: {reason}") from None


def lever(text: str, levers: Mapping[str, Callable[..., Any]], bound: Collection[str] = ()) -> tuple[str, Lever]:
    """ "cfg(1.5)" or "clip_x0" as (name, lever); only literals are allowed in the parentheses.

    UserError if they set one of `bound`, the names that other options set.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name):
            raise ValueError("no name")
        name, arguments = call.func.id, [ast.literal_eval(a) for a in call.args]
        named = {k.arg or "**": ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise UserError(f'--lever {text!r}: write a name with its settings, such as "cfg(1.5)"') from None
    found = lookup("lever", name, levers)
    _check_settings(text, name, inspect.signature(found, follow_wrapped=False), arguments, named)
    try:
        for parameter in inspect.signature(found).bind_partial(*arguments, **named).arguments:
            if f"{name}.{parameter}" in bound:
                raise UserError(f"--lever {text!r}: {name}.{parameter} is set by --set or --sweep too")
        return name, found(*arguments, **named)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"--lever {text!r}: {str(error).splitlines()[0]}") from None


def _check_settings(text, name, signature, arguments, named):
    """UserError for an unknown setting, and for a missing one without a default."""
    for setting in named:
        if setting not in signature.parameters:
            raise UserError(f"--lever {text!r}: {name} has no {setting!r}: {nearest(setting, signature.parameters)}")
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty]
    if missing := [p for p in needed[len(arguments) :] if p not in named]:
        shown = ", ".join(needed)
        raise UserError(f"--lever {text!r}: {name} needs {' and '.join(missing)}, as in {name}({shown})")
