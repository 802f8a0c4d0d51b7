"""What levers refuse, in one line."""

import math
from numbers import Real

from fewstep.diffusion.denoiser import wrappers


def is_number(value) -> bool:
    """Whether it is a real number, infinity among them."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def finite(lever, **settings):
    """ValueError for a setting that is no finite number."""
    for name, value in settings.items():
        if not is_number(value) or math.isinf(value):
            raise ValueError(f"{lever}.{name} is a finite number: got {_short(value)}")


def _short(value):
    return repr(value) if isinstance(value, str | bytes | int | float | tuple | None) else type(value).__name__


def remembers(den) -> bool:
    """Whether a lever around a network wants to see what it saw at the row before."""
    return any(getattr(wrapper, "remembers", False) for wrapper in wrappers(den))


def refuse_memory(lever, den):
    """ValueError where a lever inside has a memory: it is of one call a row, and `lever` makes other ones."""
    if remembers(den):
        again = "there is one already" if lever == "apg" else f"give --lever {lever}(...) before it"
        raise ValueError(f"{lever} does not go around a lever with a memory (apg): {again}")
