"""A request of the page: every field is checked before anything is done."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from fewstep.cli.play.offer import CALLS, COUNT, Parameter
from fewstep.errors import UsageError, lookup, nearest
from fewstep.ranges import Range, Seed, check

MOST_LEVERS = 6


@dataclass(frozen=True)
class Asked:
    """What is to be drawn, and for whom: of each client and side, the newest request replaces older ones."""

    client: str
    side: Literal["A", "B"]
    run: Annotated[int, Range(0, 1)]
    sampler: str
    nfe: Annotated[int, Range(1, CALLS)]
    grid: str | None
    levers: tuple[tuple[str, dict], ...]  # names with their settings, innermost first
    seed: Seed
    count: Annotated[int, Range(1, COUNT)]
    label: Annotated[int, Range(0, 10**6)] | None  # None: all classes in turn


def asked(value: Any) -> Asked:
    """The request in a JSON value; UsageError for anything else."""
    if not isinstance(value, dict):
        raise UsageError("a request is a JSON object")
    known = {field.name: field.type for field in fields(Asked)}
    for name in value:
        if name not in known:
            raise UsageError(f"a request has no {name!r}: {nearest(name, known)}")
    for name, kind in known.items():
        if name not in value:
            raise UsageError(f"the request lacks {name!r}")
        check(value[name], kind, name)
    if not re.fullmatch(r"[0-9a-z-]{1,40}", value["client"]):
        raise UsageError("client is 1 to 40 letters, digits and dashes")
    if len(value["levers"]) > MOST_LEVERS:
        raise UsageError(f"levers: at most {MOST_LEVERS}")
    made: dict[str, Any] = value | {"levers": tuple(map(tuple, value["levers"]))}
    return Asked(**made)


def lever_text(name: str, settings: Mapping[str, Any], offered: Mapping[str, dict[str, Parameter]]) -> str:
    """A lever as it is typed, such as cfg(scale=1.5); UsageError for settings that are not offered."""
    known = lookup("lever", name, offered)
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"{name} has no {key!r}: {nearest(key, known)}")
        check(value, known[key].annotation, f"{name}.{key}")
    inside = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return f"{name}({inside})" if inside else name
