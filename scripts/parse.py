"""Reading what is typed on the command line: numbers, names, paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from etils import epath

from fewstep.cli.errors import UserError
from fewstep.train.utils import files
from fewstep.train.utils.files import is_remote


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
    return [] if text is None else list(dict.fromkeys(all_words(text, option)))


def all_words(text: str, option: str) -> list[str]:
    """ "cat,dog,cat" as names."""
    found = [word.strip() for word in text.split(",")]
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


def results(folder: epath.PathLike, option: str, within: str = "compare") -> epath.Path:
    """`writable` for the files of a comparison or a search, of which the folder of a run has a subfolder `within`."""
    folder = path(folder, option)
    return writable(folder / within if (folder / "config.gin").exists() else folder, option)


@contextmanager
def made(folder: epath.Path, option: str) -> Iterator[None]:
    """Within it `folder` exists, as after `writable`; if an error ends it, folders that it left empty are removed."""
    with ExitStack() as stack:
        if not is_remote(folder):
            with writing(folder, option):
                stack.enter_context(files.made(folder))
        yield


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
