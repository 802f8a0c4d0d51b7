"""Every number of every part that a config can name has a range, which is checked from configs and from Python."""

import math
import sys
from typing import Annotated, get_args, get_origin

import jax
import numpy as np
import pytest

from fewstep.cli.config import registry
from fewstep.cli.config.parse import bind_override
from fewstep.errors import UsageError
from fewstep.ranges import Among, Range, check_fields, checked, fits, members, words


def numbers(annotation, within=()):
    """(kind, range or None, the tuples around it) of the numbers in an annotation."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (int, float):
        yield annotation, None, within
    elif origin is Annotated:
        yield *inner, within
    elif origin is tuple:
        several = inner[1:] == (...,)
        for at, kind in enumerate(inner[:1] if several else inner):
            yield from numbers(kind, (*within, None if several else (at, inner)))
    else:
        for kind in members(annotation) if len(members(annotation)) > 1 else ():
            yield from numbers(kind, within)


CASES = [
    pytest.param(name, parameter, kind, limit, within, id=f"{name}.{key}")
    for name in registry.CONFIGURABLES
    for key, parameter in registry.parameters(name).items()
    for kind, limit, within in numbers(parameter.annotation)
]


def beyond(kind, limit):
    """Numbers just outside, and what is never a number."""
    if isinstance(limit, Among):
        yield from (min(limit) - 1, min(limit) + 1, max(limit) + 1, True)
        return
    step = (lambda end, to: end + to) if kind is int else (lambda end, to: float(np.nextafter(end, to * math.inf)))
    yield from (limit.above,) if limit.least is None else (step(limit.least, -1),)
    yield from (limit.below,) if limit.most is None else (step(limit.most, 1),) if math.isfinite(limit.most) else ()
    yield from (math.nan, True)


def inside(kind, limit):
    """A number of the range."""
    tried = [limit.least, limit.most, 0.5 * (limit.above + limit.below), limit.above + 1e-3, 1]
    return next(kind(n) for n in tried if n is not None and math.isfinite(n) and kind(n) in limit)


def wrapped(value, within):
    """The value in the tuples around it, whose other entries are in their ranges."""
    for place in reversed(within):
        others = () if place is None else tuple(inside(*get_args(kind)) for kind in place[1])
        value = (value,) if place is None else (*others[: place[0]], value, *others[place[0] + 1 :])
    return value


@pytest.mark.parametrize(("name", "parameter", "kind", "limit", "within"), CASES)
def test_every_number_has_a_range_that_is_checked(name, parameter, kind, limit, within):
    assert limit is not None, "state its range: Annotated[float, Range(...)], or an alias of ranges.py"
    part, key = registry.CONFIGURABLES[name], parameter.name
    if parameter.default is not parameter.empty:
        assert fits(parameter.default, parameter.annotation)
    for number in beyond(kind, limit):
        if fits(number, parameter.annotation):  # held_out: a number of images, or a fraction
            continue
        value = wrapped(number, within)
        with pytest.raises(UsageError, match=rf"\.{key} is .*: got"):
            part(**{key: value})
        if "nan" not in repr(value):  # which a config cannot say
            with pytest.raises(UsageError, match=rf"{name}\.{key} is .*, not "):
                bind_override(f"{name}.{key}={value!r}")


def test_every_parameter_says_what_it_is():
    for name in registry.CONFIGURABLES:
        for key, parameter in registry.parameters(name).items():
            assert parameter.annotation is not parameter.empty, f"{name}.{key}"


@pytest.mark.parametrize(
    "override",
    [
        "adamw.lr=-1", "adamw.lr=0", "adamw.clip=0", "logit_normal.std=0", "ddim.eta=-1", "ddim.eta=1e300",
        "cfg.scale=-1e308", "apg.momentum=5", "UNet.dtype='float16'", "DiT.dtype=float16", "UNet.blocks=100000",
        "DiT.depth=100000", "MLP.width=10**9", "upsample_guidance.m=100000", "train.ema=(1.0,)",
    ],
)  # fmt: skip
def test_what_was_accepted_and_useless(override):
    with pytest.raises(UsageError):
        bind_override(override)


def test_half_precision_names_the_other_one():
    with pytest.raises(UsageError, match=r"UNet\.dtype is 'float32' or 'bfloat16'"):
        registry.CONFIGURABLES["UNet"](dtype="float16")


def test_a_generator_is_checked_when_it_is_called():
    @checked
    def rows(count: Annotated[int, Range(1, 3)]):
        yield from range(count)

    assert list(rows(2)) == [0, 1]
    with pytest.raises(UsageError, match=r"^rows.count is a whole number in \[1, 3\]: got 4$"):
        rows(4)
    with pytest.raises(TypeError, match="count"):
        rows()


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(1), np.array(0.5), 1, 0.5])
def test_numbers_of_all_kinds(number):
    assert fits(number, Annotated[float, Range(0, 1)])


def test_traced_numbers_pass():
    @checked
    def scaled(x, share: Annotated[float, Range(0, 1)]):
        return x * share

    assert jax.jit(scaled)(2.0, 3.0) == 6.0
    with pytest.raises(UsageError):
        scaled(2.0, 3.0)


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (Range(), "finite"), (Range(0), "at least 0"), (Range(above=0), "above 0"), (Range(0, 1), "in [0, 1]"),
        (Range(above=0, below=0.5), "in (0, 0.5)"), (Range(above=0, most=math.inf), "above 0"),
        (Range(1, 10**9), "in [1, 1000000000]"),
    ],
)  # fmt: skip
def test_ranges_in_words(limit, text):
    assert str(limit) == text
    assert words(Annotated[float, limit] | None) == f"a number {text} or None"


def test_infinity_is_in_a_range_only_as_its_end():
    assert math.inf in Range(above=0, most=math.inf)
    assert math.inf not in Range(above=0)
    assert sys.float_info.max in Range(above=0)
    assert np.float64("nan") not in Range()


def test_fields_of_subclasses_are_checked():
    denoising = registry.CONFIGURABLES["denoising"]
    mine = type("Mine", (denoising,), {})
    with pytest.raises(UsageError, match=r"Mine.label_drop is a number in \[0, 1\]: got 2"):
        mine(label_drop=2)
    check_fields(denoising())
