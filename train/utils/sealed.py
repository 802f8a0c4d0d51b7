"""Files with a seal: the SHA-256 of what they say, in the file itself, so that both are written at once.

A seal shows that a file has changed since fewstep wrote it.  Files without one, of earlier versions, are read as well.
"""

import json
import re
from typing import Any

from etils import epath

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import JSON, dumps, loads, read_text, write_atomic
from fewstep.train.utils.hashing import sha256

KEY, LINE = "sha256", "# sha256: "  # in JSON files; the last line of a config
CHANGED = "has changed since fewstep wrote it"
SEAL = re.compile(rf"{LINE}[0-9a-f]{{64}}\n")


class Changed(Damaged):
    """The seal of a file does not fit to what it says."""

    def __init__(self, path: epath.PathLike):
        path = epath.Path(path)
        run = next((folder for folder in path.parents if (folder / "config.gin").exists()), None)
        remedy = " (remove its last line to accept the change)" if path.suffix == ".gin" else ""
        remedy = f" (`fewstep seal {run}` accepts the change)" if run else remedy
        super().__init__(path, f"{CHANGED}{remedy}")


def write_config(path: epath.PathLike, text: str) -> None:
    """Write the text of a config, sealed."""
    text += "" if text.endswith("\n") else "\n"
    write_atomic(path, text + _seal_line(text))


def read_config(path: epath.PathLike) -> str:
    """The text of a config without its seal; raises Changed if it does not fit."""
    text, whole = config_parts(read_text(path))
    if whole is False:
        raise Changed(path)
    return text


def config_parts(text: str) -> tuple[str, bool | None]:
    """The text of a config without its seal, and whether that fits, None if it has none."""
    lines = (text.rstrip("\n") + "\n").splitlines(keepends=True)
    said = "".join(line for line in lines if not SEAL.fullmatch(line))
    return (text, None) if len(said) == sum(map(len, lines)) else (said, lines[-1] == _seal_line(said))


def sealed_json(value: dict, **options: Any) -> str:
    """`dumps` of the value with its seal as the last key."""
    value = json.loads(dumps(value))
    return dumps(value | {KEY: _sha256(json.dumps(value, sort_keys=True))}, **options) + "\n"


def opened_json(text: str) -> Any:
    """The value that `sealed_json` wrote; ValueError if its seal does not fit."""
    value, whole = json_parts(text)
    if whole is False:
        raise ValueError("changed since it was written")
    return value


def json_parts(text: str) -> tuple[Any, bool | None]:
    """The value in a JSON text, and whether its seal fits, None if it has none; ValueError if the text is damaged."""
    value = loads(text)
    seal = value.pop(KEY, None) if isinstance(value, dict) else None
    return value, None if seal is None else seal == _sha256(json.dumps(value, sort_keys=True))


def read_json(path: epath.PathLike) -> Any:
    """The value in a JSON file; raises Damaged if there is none, or if its seal does not fit."""
    text = read_text(path, JSON)
    try:
        value, whole = json_parts(text)
    except ValueError as error:
        raise Damaged(path, f"is damaged ({error})") from None
    if whole is False:
        raise Changed(path)
    return value


def _seal_line(text):
    return f"{LINE}{_sha256(text)}\n"


def _sha256(text):
    return sha256(text.encode())
