"""What training costs: its memory, and its time, told once its first steps have been measured."""

import time
from typing import Any, cast

import jax
import numpy as np

from fewstep.train import ema
from fewstep.train.experiment import Experiment
from fewstep.train.objectives.objective import Objective
from fewstep.train.optimizers import OPTIMIZERS
from fewstep.train.utils.messages import say
from fewstep.train.utils.progress import duration

MEASURED = 2.0  # seconds
SIDE = 1024  # of the matrix on which memory is counted


def memory(experiment: Experiment) -> str:
    """The bytes of memory per parameter, in words: counted on a hidden matrix, where optimizers differ most."""
    objective = cast(Objective, experiment.objective)
    groups = ("net", *objective.copies)
    parts = {"itself": 4.0, "its gradient": 4.0}
    if objective.copies:
        parts["its copies and their gradients"] = 8.0 * len(objective.copies)
    if getattr(experiment.optimizer, "__name__", "") in OPTIMIZERS:
        matrix = {"hidden": {"kernel": jax.ShapeDtypeStruct((SIDE, SIDE), np.float32)}}
        optimizer = objective.optimizer(experiment.optimizer(experiment.steps), experiment.steps)
        moments = jax.tree.leaves(jax.eval_shape(optimizer.init, dict.fromkeys(groups, matrix)))
        parts["the optimizer"] = sum(a.size * a.dtype.itemsize for a in moments) / SIDE**2
    count = len(ema.names(experiment.ema, experiment.ema_lengths))
    parts[f"{count} average{'s' * (count > 1)}"] = 4.0 * count
    if objective.needs_teacher:
        parts["its teacher"] = 4.0
    listed = ", ".join(f"{size:.3g} of {what}" for what, size in parts.items())
    return f"memory: {sum(parts.values()):.3g} bytes per parameter of a hidden matrix: {listed}"


class Cost:
    """Tells the size of the network, the operations of a step, and how long all steps take on this machine."""

    def __init__(self, step: Any, steps: int, accumulate: int = 1):
        """step: the jitted training step, of so many equal parts; steps: all of them."""
        self._step, self._steps, self._parts = step, steps, accumulate
        self._first: tuple[float, int] | None = None
        self._told = False

    def interrupt(self) -> None:
        """Call it after what is not a step: time is measured anew from the next call of `tell`."""
        self._first = None

    def tell(self, now: int, state: Any, batch: Any) -> None:
        """Call it after steps that are complete on the device; the first call is after compilation."""
        clock = time.monotonic()
        if self._first is None:
            self._first = clock, now
        elif not self._told and clock - self._first[0] >= MEASURED:
            self._told = True
            each = (clock - self._first[0]) / (now - self._first[1])
            time_of = f"{each:.3g} s" if each >= 1 else f"{1000 * each:.3g} ms"
            parameters = sum(a.size for a in jax.tree.leaves(state.params["net"]))
            say(
                f"{parameters:,} parameters, {self._operations(state, batch)}{time_of} per step: "
                f"{self._steps} steps take {duration(self._steps * each)} here"
            )

    def _operations(self, state, batch):
        """In words; "" where XLA does not know them: on some devices, and in a loop over the parts of a batch."""
        found = (self._step.lower(state, batch).cost_analysis() or {}).get("flops", 0)
        return f"{found / 1e9:.3g} GFLOP and " if found and self._parts == 1 else ""
