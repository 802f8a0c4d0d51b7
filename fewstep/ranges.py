"""Ranges of numbers, stated once in the annotation of a parameter and checked whenever it is given a value.

    @checked
    def ddim(process: Process, grid: np.ndarray, eta: Annotated[float, Range(0, 1)] = 0.0): ...

Also texts of a few choices, Literal["float32", "bfloat16"].  Values that JAX traces are not checked.
"""

import inspect
import math
import reprlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from itertools import repeat
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from fewstep.errors import UsageError

Part = TypeVar("Part", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`, or, without an end of its own, above `above` and below `below`.  Infinity is
    in it only as an end, and NaN never."""

    least: float | None = None
    most: float | None = None
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        enough = number > self.above if self.least is None else number >= self.least
        return bool(enough and (number < self.below if self.most is None else number <= self.most))

    def __str__(self) -> str:
        low, high = self.above if self.least is None else self.least, self.below if self.most is None else self.most
        if math.isinf(high):
            return "finite" if math.isinf(low) else f"{'above' if self.least is None else 'at least'} {low:g}"
        return f"in {'(['[self.least is not None]}{_short(low)}, {_short(high)}{')]'[self.most is not None]}"


class Among(tuple):
    """A few numbers, in place of a range."""

    def __str__(self) -> str:
        return f"that is {' or '.join(map(str, self))}"


MOST_CALLS, MOST_IMAGES = 10_000, 1_000_000  # larger numbers are typing errors
LARGE = 1e6  # larger numbers overflow somewhere in float32, and are typing errors

Positive = Annotated[float, Range(above=0, most=LARGE)]
NonNegative = Annotated[float, Range(0, LARGE)]
Share = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, below=1)]
Count = Annotated[int, Range(1, 10**9)]
Points = Annotated[int, Range(1, 10)]  # of a multistep method
Seed = Annotated[int, Range(0, 2**32 - 1)]

_WORDS = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a text in quotes",
    tuple: "a tuple such as (1, 2)", type(None): "None", Callable: "a function (named with @ in a config)",
}  # fmt: skip


def checked(part: Part) -> Part:
    """A decorator of a function or a class: arguments outside the ranges in its annotations raise UsageError, also of a
    generator function when it is called."""
    return checked_as(part.__name__)(part)


def checked_as(name: str) -> Callable[[Part], Part]:
    """`checked`, for messages about name.parameter."""

    def decorated(part: Any) -> Any:
        if not inspect.isclass(part):
            return _guarded(part, name)
        part.__init__ = _guarded(part.__init__, name)
        return part

    return decorated


def check_fields(instance: Any) -> None:
    """Raises UsageError for the fields of a dataclass that are outside the ranges in their annotations: for the
    __post_init__ of a class that others subclass, which `checked` does not reach."""
    for field in fields(instance):
        if _limited(field.type):
            check(getattr(instance, field.name), field.type, f"{type(instance).__name__}.{field.name}")


def check(value: Any, annotation: Any, what: str) -> None:
    """Raises UsageError unless a value is what the annotation says."""
    if not fits(value, annotation):
        raise UsageError(f"{what} is {words(annotation)}: got {reprlib.repr(value)}")


def within(number: Any, what: str, least: int, most: int) -> int:
    """The number, if it is whole and from `least` to `most`; UsageError otherwise."""
    check(number, Annotated[int, Range(least, most)], what)
    return int(number)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of the annotated type, with its numbers in their ranges."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any or _is_traced(value):
        return True
    if annotation in (int, float):
        return _is_number(value, annotation)
    if origin is Annotated:
        return _is_number(value, inner[0]) and value in inner[1]
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (Union, types.UnionType):
        return any(fits(value, kind) for kind in inner)
    if tuple in (annotation, origin):
        kinds = repeat(inner[0]) if inner[1:] == (...,) else inner
        listed = isinstance(value, list | tuple | np.ndarray)
        return listed and (kinds is not inner or len(value) == len(inner) or not inner) and all(map(fits, value, kinds))
    return isinstance(value, origin or annotation)


def words(annotation: Any) -> str:
    """An annotation in words: "a number in [0, 1] or None"."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{_WORDS[inner[0]]} {inner[1]}"
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(words, inner))
    if origin is tuple:
        several = inner[1:] == (...,)
        return f"a tuple, each {words(inner[0])}" if several else f"a tuple ({', '.join(map(words, inner))})"
    return _WORDS.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"


def members(annotation: Any) -> tuple:
    """The alternatives of a union, or the annotation itself as the only one."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _limited(annotation):
    """Whether an annotation contains a range or choices."""
    if get_origin(annotation) in (Annotated, Literal):
        return True
    return any(map(_limited, get_args(annotation)))


def _guarded(call, name):
    signature = inspect.signature(call)
    limits = {key: p.annotation for key, p in signature.parameters.items() if _limited(p.annotation)}

    @wraps(call)
    def guarded(*arguments: Any, **settings: Any) -> Any:
        try:
            given = signature.bind_partial(*arguments, **settings).arguments
        except TypeError:  # the call itself says why
            given = {}
        for key in limits.keys() & given.keys():
            check(given[key], limits[key], f"{name}.{key}")
        return call(*arguments, **settings)

    shown: Any = guarded
    shown.__signature__ = signature  # also for those who do not follow __wrapped__
    return guarded


def _is_traced(value):
    jax = sys.modules.get("jax")  # not imported here: reading data does without it
    return jax is not None and isinstance(value, jax.core.Tracer)


def _is_number(value, kind):
    """Whether it is a number of Python or NumPy, or an array of none of the axes."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return number and value == value  # not NaN; math.isnan takes no whole number beyond floats


def _short(number):
    return str(number) if isinstance(number, int) else f"{number:.10g}"
