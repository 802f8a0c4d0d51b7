"""Checks of the denoisers that levers wrap."""

from fewstep.diffusion.denoiser import DenoiserLike, wrappers
from fewstep.errors import UsageError


def remembers(den: DenoiserLike) -> bool:
    """Whether a lever in the chain keeps state from one row to the next."""
    return any(getattr(wrapper, "remembers", False) for wrapper in wrappers(den))


def check_no_memory(lever: str, den: DenoiserLike) -> None:
    """Raises UsageError if a lever inside has a memory: it requires one call per row, and `lever` makes additional
    ones."""
    if remembers(den):
        again = "there is one already" if lever == "apg" else f"apply {lever}(...) before it"
        raise UsageError(f"{lever} does not go around a lever with a memory (apg): {again}")
