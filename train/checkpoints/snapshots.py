"""Snapshots of the power-function averages of a run, from which averages of other lengths are rebuilt."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.train import ema
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.state import State
from fewstep.train.utils.messages import say

MOST = 16  # snapshots of a run
NEAR = 0.1  # relative error of the profile of an average that is not told
FOLDER = "averages"


class Snapshots:
    """Takes at most MOST evenly spaced snapshots over a run, at steps at which it saves; a context manager.

    If the run is extended or `save_every` changes there would be more: those that are nearest to each other go.

    Without lengths it does nothing.
    """

    def __init__(self, folder: epath.PathLike, lengths: Sequence[float], steps: int, save_every: int):
        self._names = ema.power_names(lengths)
        self._every = save_every * -(-steps // (save_every * MOST))
        self._kept = Checkpoints(epath.Path(folder) / FOLDER, keep=None) if lengths else None

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._kept:
            self._kept.__exit__(*error)

    def resume(self, step: int, state: State) -> None:
        """Renames later snapshots; takes that of the step, if the run was killed before it was written."""
        if self._kept:
            self._kept.set_aside(step)
            self.take(step, state)

    def take(self, step: int, state: State) -> None:
        """Saves a snapshot in the background, if it is time for one."""
        if self._kept and step and step % self._every == 0:
            averages = {name: state.ema[name] for name in self._names}
            self._kept.save(step, State(state.step, state.nonfinite_steps, {}, averages, {}, ()))
            for unwanted in crowded([*self._kept.steps(), step]):
                self._kept.remove(unwanted)


def crowded(steps: Iterable[int]) -> list[int]:
    """The steps without which MOST are left: in turn the one that lies nearest to those around it."""
    kept, removed = sorted(set(steps)), []
    while len(kept) > MOST:
        before = [0, *kept]
        nearest = min(range(len(kept) - 1), key=lambda i: kept[i + 1] - before[i])
        removed.append(kept.pop(nearest))
    return removed


def rebuilt(folder: epath.Path, step: int, like: dict, lengths: Sequence[float], length: float) -> Any:
    """The parameters after a step, averaged to a length.

    like: {name: shapes} of all averages of a state, with shardings.  Raises UsageError for a run without snapshots.
    """
    if not lengths:
        raise UsageError(
            f"ema: {folder} keeps no averages from which others are rebuilt: train with train.ema_lengths = (0.05, 0.1)"
        )
    powers = {name: like[name] for name in ema.power_names(lengths)}
    with Checkpoints(folder / "checkpoints", create=False) as saved, Checkpoints(folder / FOLDER, create=False) as kept:
        before = [at for at in kept.steps() if at < step]
        known = [(at, of) for at in (*before, step) for of in lengths]
        weights, error = ema.coefficients(known, step, length)
        if error > NEAR:
            say(
                f"ema.length = {length:g} is not what these weights are: the average that {len(before)} snapshots give "
                f"weighs the steps otherwise, by {error:.0%}; train with train.save_every a sixteenth of the steps"
            )
        total = None
        for at, of_step in zip((*before, step), weights.reshape(-1, len(lengths)), strict=True):
            found = saved.restore_ema(step, like) if at == step else kept.restore_ema(at, powers)
            parts = [
                jax.tree.map(lambda a, weight=weight: np.float32(weight) * a, found[name])
                for name, weight in zip(powers, of_step, strict=True)
            ]
            total = jax.tree.map(lambda *a: sum(a), *parts, *([] if total is None else [total]))
    return total
