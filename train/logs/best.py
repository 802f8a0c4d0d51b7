"""The best preview of a run, and how many have followed it: the end of training by the Frechet distance."""

import math
from collections.abc import Collection, Iterable

from etils import epath

from fewstep.train.logs.jsonl import read
from fewstep.train.utils.files import saved_steps


class Best:
    """The first preview with the lowest "FD-...", a finite one whose checkpoint exists.

    found: {step: distance} of all previews.  saved: the steps that have a checkpoint.  patience: after how many
    previews without a lower distance training is over; None: never.
    """

    def __init__(self, found: dict[int, float], saved: Collection[int], patience: int | None):
        self.patience, self.step, self._lowest, self._previews = patience, None, math.inf, {*found}
        for step in sorted(found):
            if step in saved:
                self._see(step, found[step])

    def see(self, step: int, values: dict) -> None:
        """Add what a new preview has logged; if it is the best one, its checkpoint is saved next."""
        for value in distances(values):
            self._previews.add(step)
            self._see(step, value)

    def _see(self, step, value):
        if value < self._lowest:
            self.step, self._lowest = step, value

    @property
    def kept(self) -> int | None:
        """The step whose checkpoint is kept: the best one, or None without patience."""
        return None if self.patience is None else self.step

    @property
    def over(self) -> bool:
        """Whether `patience` previews have followed the best one."""
        if self.patience is None or self.step is None:
            return False
        return sum(step > self.step for step in self._previews) >= self.patience


def logged(lines: Iterable[dict], step: int) -> dict[int, float]:
    """{step: distance} of the previews in lines of metrics.jsonl, up to a step; infinite if it was not finite."""
    return {line["step"]: value for line in lines if line["step"] <= step for value in distances(line)}


def best_preview(folder: epath.PathLike, step: int, patience: int | None) -> Best:
    """Of a run as it is in its folder."""
    lines = read(epath.Path(folder) / "metrics.jsonl")
    return Best(logged(lines, step), saved_steps(epath.Path(folder) / "checkpoints"), patience)


def distances(values: dict) -> list[float]:
    """The distances among what was logged at a step."""
    found = [value for name, value in values.items() if name.startswith("FD-")]
    return [math.inf if value is None or not math.isfinite(value) else value for value in found]
