"""Configs of Hugging Face diffusers, read by kind: each setting is checked, and the error names its file and its key.

Files of older versions lack settings that later ones have: the defaults are those of the constructors of diffusers
0.42.1, which opens these files so.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import JSON, read_text

MOST = 60  # characters of a value that a message shows


class Kind(NamedTuple):
    """What a setting may be."""

    words: str
    fits: Callable[[Any], bool]


class Setting(NamedTuple):
    """The value where a file lacks it, and what a file may say."""

    default: Any
    kind: Kind


Table = Mapping[str, Setting]


def read_config(path: Path) -> dict[str, Any]:
    """A file of JSON, as diffusers writes it (with -Infinity); Damaged for anything but a list of settings."""
    try:
        said = json.loads(read_text(path, JSON))
    except Damaged:
        raise
    except json.JSONDecodeError as error:
        raise Damaged(path, f"is damaged ({error.msg}, line {error.lineno})") from None
    except RecursionError:
        raise Damaged(path, "is damaged (too many brackets)") from None
    except ValueError:
        raise Damaged(path, "is damaged (a number is too long)") from None
    if not isinstance(said, dict):
        raise Damaged(path, "is damaged (it is no list of settings by name)")
    return said


def settings(path: Path, said: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The settings of the table, as the file at `path` says or by default; Damaged for one of another kind."""
    known = {}
    for key, (default, kind) in table.items():
        known[key] = said.get(key, default)
        if not kind.fits(known[key]):
            if key not in said:
                raise Damaged(path, f"does not say {key}, {kind.words}: add it")
            text = json.dumps(known[key])
            shown = text if len(text) <= MOST else f"{text[:MOST]}..."
            raise Damaged(path, f"has {key} {shown}: it is {kind.words} in a model that is opened")
    return known


def whole(least: int, most: int) -> Kind:
    """A whole number."""
    return Kind(
        f"a whole number from {least} to {most}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
    )


def number(above: float = -math.inf, most: float = math.inf) -> Kind:
    """A finite number."""
    bounds = [f"above {above:g}"] * math.isfinite(above) + [f"up to {most:g}"] * math.isfinite(most)
    return Kind(
        " ".join(["a number", " and ".join(bounds)]).strip(),
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and _in(value, above, most),
    )


def _in(value, above, most):
    try:
        return math.isfinite(value) and above < value <= most
    except OverflowError:  # an integer of hundreds of digits
        return False


def one_of(*values: Any) -> Kind:
    """One of these, of their own types."""
    words = " or ".join(json.dumps(value) for value in values)
    return Kind(words, lambda value: any(type(value) is type(one) and value == one for one in values))


def listed(kind: Kind, least: int, most: int) -> Kind:
    """A list of values of a kind."""
    return Kind(
        f"a list of {least} to {most}, each {kind.words}",
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(kind.fits, value)),
    )


def either(*kinds: Kind) -> Kind:
    """Of one of these kinds."""
    return Kind(" or ".join(kind.words for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


FLAG, NULL = one_of(True, False), one_of(None)
