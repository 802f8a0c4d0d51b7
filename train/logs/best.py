"""The best preview of a run, and how many have followed it: the end of training by the Frechet distance."""

import math

from etils import epath

from fewstep.train.logs.jsonl import read


class Best:
    """The lowest "FD-..." of the previews that a run has logged up to a step; not finite ones never are the lowest.

    patience: after how many previews without a lower one training is over; None: never.
    """

    def __init__(self, folder: epath.PathLike, step: int, patience: int | None):
        self.patience, self._found = patience, {}
        for line in read(epath.Path(folder) / "metrics.jsonl"):
            if line["step"] <= step:
                self.see(line["step"], line)

    def see(self, step: int, values: dict) -> None:
        """Add what was logged at a step."""
        for name, value in values.items():
            if name.startswith("FD-"):
                self._found[step] = math.inf if value is None or not math.isfinite(value) else value

    @property
    def step(self) -> int | None:
        """That of the lowest distance, the first if several are equal; None without previews."""
        return min(self._found, key=self._found.__getitem__, default=None)

    @property
    def kept(self) -> int | None:
        """The step whose checkpoint is kept: the best one, or None without patience."""
        return None if self.patience is None else self.step

    @property
    def over(self) -> bool:
        """Whether `patience` previews have followed the best one."""
        return self.patience is not None and sum(step > (self.step or 0) for step in self._found) >= self.patience
