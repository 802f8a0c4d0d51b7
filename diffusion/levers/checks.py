"""Checks of the settings of levers, and of the denoisers that they wrap."""

import math
from numbers import Real
from typing import Any

from fewstep.diffusion.denoiser import DenoiserLike, wrappers
from fewstep.diffusion.naming import short
from fewstep.errors import UsageError


def is_number(value: Any) -> bool:
    """Whether it is a real number, infinity included."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def check_finite(lever: str, **settings: Any) -> None:
    """Raises UsageError for a setting that is not a finite number."""
    for name, value in settings.items():
        if not is_number(value) or math.isinf(value):
            raise UsageError(f"{lever}.{name} is a finite number: got {short(value)}")


def remembers(den: DenoiserLike) -> bool:
    """Whether a lever in the chain keeps state from one row to the next."""
    return any(getattr(wrapper, "remembers", False) for wrapper in wrappers(den))


def check_no_memory(lever: str, den: DenoiserLike) -> None:
    """Raises UsageError if a lever inside has a memory: it requires one call per row, and `lever` makes additional
    ones."""
    if remembers(den):
        again = "there is one already" if lever == "apg" else f"apply {lever}(...) before it"
        raise UsageError(f"{lever} does not go around a lever with a memory (apg): {again}")
