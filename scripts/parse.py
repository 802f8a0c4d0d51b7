"""Reading what is typed on the command line: numbers, paths, levers."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from etils import epath

from fewstep.cli.errors import UserError, lookup, nearest
from fewstep.train.utils.files import is_remote

if TYPE_CHECKING:
    from fewstep.diffusion.denoiser import Lever

MOST_CALLS, MOST_IMAGES = 10_000, 1_000_000  # beyond these a number is a slip


def whole_numbers(text: str, option: str) -> list[int]:
    """ "1,2,4" as numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text!r}: write whole numbers with commas, such as 1,2,4") from None


def numbers(text: str, option: str, most: float = 1e300) -> list[float]:
    """ "0.5,0.75,1" as numbers, up to `most`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(abs(number) <= most for number in found):
        raise UserError(f"{option} {text!r}: write numbers with commas, such as 0.5,0.75,1")
    return found


def words(text: str | None, option: str) -> list[str]:
    """ "ddim,heun" as names, each once; [] of None."""
    found = list(dict.fromkeys(word.strip() for word in text.split(","))) if text is not None else []
    if "" in found:
        raise UserError(f"{option} {text!r}: write names with commas")
    return found


def mesh(text: str) -> tuple[int, ...]:
    """ "-1,1,1" as sizes; whether there are such devices is said by `train.sharding.make_mesh`."""
    return tuple(whole_numbers(text, "--mesh"))


def within(number: int, option: str, least: int, most: int) -> int:
    """The number, if it is one of so many calls or images."""
    if not least <= number <= most:
        raise UserError(f"{option} {number}: at least {least} is needed, and at most {most} can be")
    return number


def path(text: epath.PathLike, option: str) -> epath.Path:
    """A local path, or gs://BUCKET/... where gcsfs is installed."""
    if is_remote(text) and not str(text).startswith("gs://"):
        raise UserError(f"{option} {text}: a bucket is written gs://BUCKET/FOLDER; other stores are not supported")
    if is_remote(text) and find_spec("gcsfs") is None:
        raise UserError(f"{option} {text}: buckets are read and written by gcsfs: pip install gcsfs")
    return epath.Path(text)


def writable(folder: epath.PathLike, option: str) -> epath.Path:
    """A folder that results can be written to, made if need be (buckets have none); UserError where that fails."""
    folder = path(folder, option)
    if not is_remote(folder):
        with writing(folder, option):
            folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(folder: epath.PathLike, option: str) -> Iterator[None]:
    """A UserError where writing to the folder fails; the libraries of buckets have errors of their own."""
    try:
        yield
    except Exception as error:
        if not is_remote(folder) and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{option}: cannot make the folder {folder}: {reason}") from None


def lever(text: str, levers: Mapping[str, Callable[..., Any]], bound: Collection[str] = ()) -> tuple[str, Lever]:
    """ "cfg(1.5)" or "clip_x0" as (name, lever); only literals are understood inside the brackets.

    UserError where these set one of `bound`, the names of what is set otherwise.
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
    """UserError for a setting that there is not, and where one without a default is given nowhere."""
    for setting in named:
        if setting not in signature.parameters:
            raise UserError(f"--lever {text!r}: {name} has no {setting!r}: {nearest(setting, signature.parameters)}")
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty]
    if missing := [p for p in needed[len(arguments) :] if p not in named]:
        shown = ", ".join(needed)
        raise UserError(f"--lever {text!r}: {name} needs {' and '.join(missing)}, as in {name}({shown})")
