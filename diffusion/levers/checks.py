"""What levers refuse, in one line."""

import math
from numbers import Real

from fewstep.diffusion.denoiser import wrappers
from fewstep.diffusion.errors import UsageError


def is_number(value) -> bool:
    """Whether it is a real number, infinity among them."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def finite(lever, **settings):
    """UsageError for a setting that is no finite number."""
    for name, value in settings.items():
        if not is_number(value) or math.isinf(value):
            raise UsageError(f"{lever}.{name} is a finite number: got {_short(value)}")


def _short(value):
    return repr(value) if isinstance(value, str | bytes | int | float | tuple | None) else type(value).__name__


def remembers(den) -> bool:
    """Whether a lever around a network wants to see what it saw at the row before."""
    return any(getattr(wrapper, "remembers", False) for wrapper in wrappers(den))


def check_no_memory(lever, den):
    """UsageError where a lever inside has a memory: it is of one call a row, and `lever` makes other ones."""
    if remembers(den):
        again = "there is one already" if lever == "apg" else f"give --lever {lever}(...) before it"
        raise UsageError(f"{lever} does not go around a lever with a memory (apg): {again}")
