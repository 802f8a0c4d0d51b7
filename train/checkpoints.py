"""Checkpoints by Orbax: one item a field, so that the averaged weights open without knowing the optimiser."""

import logging

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from train.state import State


class CheckpointError(Exception):
    """A checkpoint that cannot be read; the message names it and says what to do."""


class Checkpoints:
    """The checkpoints of one run, as a context manager: leaving it finishes the save in flight."""

    def __init__(self, folder, keep=3):
        self.folder = epath.Path(folder).resolve()
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._manager = ocp.CheckpointManager(self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=keep))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._manager.close()

    def latest(self) -> int | None:
        """The newest step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: State):
        """Write the state in the background; a step already there is left alone."""
        if step in self._manager.all_steps():
            return
        fields = {name: ocp.args.StandardSave(getattr(state, name)) for name in _arrays(state)}
        counters = ocp.args.JsonSave({"step": int(state.step), "bad": int(state.bad)})
        self._manager.save(step, args=ocp.args.Composite(counters=counters, **fields))

    def restore(self, step: int, like: State) -> State:
        """The whole state, placed as `like` is (arrays, or shapes with shardings)."""
        names = _arrays(like)
        fields = {name: ocp.args.StandardRestore(jax.tree.map(_target, getattr(like, name))) for name in names}
        found = self._restore(step, counters=ocp.args.JsonRestore(), **fields)
        counters = {name: np.int32(found["counters"][name]) for name in ("step", "bad")}
        return like._replace(**counters, **{name: found[name] for name in names})

    def restore_ema(self, step: int, like):
        """The averages alone: {decay: params}."""
        return self._restore(step, ema=ocp.args.StandardRestore(jax.tree.map(_target, like)))["ema"]

    def _restore(self, step, **items):
        where = self.folder / str(step)
        if step not in self._manager.all_steps():
            steps = ", ".join(map(str, self._manager.all_steps())) or "none"
            raise CheckpointError(f"{self.folder} has no step {step} (it has: {steps})")
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # Orbax has no common base class of its own
            first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise CheckpointError(
                f"checkpoint {where} cannot be read: it is damaged, or of another model ({first}); nothing was "
                f"changed. Move that folder away to go on from the step before it"
            ) from error


def _arrays(state):
    """The fields that are pytrees with at least one array (Orbax stores no empty item)."""
    return [name for name in ("params", "ema", "frozen", "opt_state") if jax.tree.leaves(getattr(state, name))]


def _target(a):
    """What a leaf is restored into; the sharding must be named, or the saved placement is silently kept."""
    sharding = getattr(a, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
