"""Checkpoints by Orbax: one item a field, so that the averaged weights open without knowing the optimiser."""

import errno
import logging
import os
import shutil
from contextlib import contextmanager

import jax
import numpy as np
import orbax.checkpoint as ocp

from fewstep.train.checkpoints import digests
from fewstep.train.checkpoints.orbax_stderr import OrbaxStderrFilter
from fewstep.train.state import State
from fewstep.train.utils.errors import CheckpointError
from fewstep.train.utils.files import absolute, is_remote
from fewstep.train.utils.multihost import anywhere, first, lost, meet
from fewstep.train.utils.progress import say

PATIENCE = 300  # seconds that processes wait for one that has not written its part
TREES = ("params", "ema", "frozen", "opt_state")  # the fields of State that are pytrees of arrays


class Checkpoints:
    """The checkpoints of one run, as a context manager: leaving it finishes the save in flight.

    With create=False it is only read: nothing is made where there is no folder, and what an interrupted save left
    behind stays, as it may be of a save that goes on in another process.

    With several processes all of them open it, save and restore together, in one folder that all of them see.
    """

    def __init__(self, folder, keep=3, create=True):
        self.folder = absolute(folder)
        if self.folder.is_file():
            raise CheckpointError(f"{self.folder} is a file: move it away, checkpoints go into a folder of that name")
        self._saving = None
        self._stderr_filter = OrbaxStderrFilter()
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # what goes wrong is raised as well
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=create,
            cleanup_tmp_directories=create,
            async_options=ocp.AsyncOptions(timeout_secs=PATIENCE, post_finalization_callback=self._seal),
        )
        handlers = {name: ocp.StandardCheckpointHandler() for name in TREES}
        handlers["counters"] = ocp.JsonCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and lost(error):
            return  # closing would wait for the others
        try:
            with self._written():
                self._manager.close()
        except CheckpointError:
            if not isinstance(error, CheckpointError):  # else it is told already
                raise
        finally:
            self._stderr_filter.close()

    def latest(self) -> int | None:
        """The newest step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: State):
        """Write the state in the background; a step already there is left alone."""
        if step in self._manager.all_steps():
            return
        self._check_free_space(state)
        with self._written():
            self._manager.wait_until_finished()  # Orbax would wait too; only then may _saving change
        self._saving = step
        fields = {name: ocp.args.StandardSave(getattr(state, name)) for name in _arrays(state)}
        counters = ocp.args.JsonSave({"step": int(state.step), "bad": int(state.nonfinite_steps)})
        with self._written():
            self._manager.save(step, args=ocp.args.Composite(counters=counters, **fields))

    @contextmanager
    def _written(self):
        """Orbax's errors of writing as one line; it has no common base class of them."""
        try:
            yield
        except Exception as error:
            self._stderr_filter.drop()
            if lost(error):
                raise
            raise CheckpointError(
                f"checkpoint {self.folder / str(self._saving)} could not be written ({_reason(error)}). Those before "
                f"it are whole: put that right, and the same command goes on from the last"
            ) from error

    def _check_free_space(self, state):
        """A full disk is noticed before Orbax's threads run into it."""
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = needed if is_remote(self.folder) else shutil.disk_usage(self.folder).free
        if anywhere(free < needed):
            raise CheckpointError(
                f"no room for a checkpoint in {self.folder}: {needed / 2**20:.1f} MB are needed and "
                f"{free / 2**20:.1f} are free. Those before it are whole: make room, and the same command goes on"
            )

    def _seal(self):
        """Write the digests of the step that is being saved; an error here keeps it from becoming final.

        Orbax calls this in a thread of process 0, after all processes have written their files and these are merged,
        and before the step becomes final: by the new name of its folder, or (gs://) by a file commit_success.txt in it.
        """
        unfinished = self.folder / f"{self._saving}.orbax-checkpoint-tmp"
        digests.write(unfinished if unfinished.exists() else self.folder / str(self._saving))

    def set_aside(self, step: int):
        """Rename the steps after this one to STEP.aside, which no one here lists, reads or removes, and say so."""
        later = [other for other in self._manager.all_steps() if other > step]
        if later and first():
            names = [_renamed(self.folder / str(other)).name for other in later]
            say(f"going on from step {step}: the later checkpoints in {self.folder} are now {', '.join(names)}")
        meet("later checkpoints are set aside")
        self._manager.reload()

    def restore(self, step: int, like: State) -> State:
        """The whole state, placed as `like` is (arrays, or shapes with shardings)."""
        names = _arrays(like)
        found = self._restore(step, {name: getattr(like, name) for name in names}, counters=ocp.args.JsonRestore())
        step, nonfinite = (np.int32(found["counters"][name]) for name in ("step", "bad"))
        return like._replace(step=step, nonfinite_steps=nonfinite, **{name: found[name] for name in names})

    def restore_ema(self, step: int, like):
        """The averages alone: {decay: params}."""
        return self._restore(step, {"ema": like})["ema"]

    def _restore(self, step, trees, **items):
        """Faults are looked for before Orbax is asked: it would restore some of them, and name others badly."""
        where, steps = self.folder / str(step), self._manager.all_steps()
        if step not in steps:
            raise CheckpointError(f"{self.folder} has no step {step} (it has: {', '.join(map(str, steps)) or 'none'})")
        if fault := digests.fault(where):
            raise CheckpointError(f"checkpoint {where} is damaged ({fault}): {self._remedy(step)}")
        try:
            saved = self._manager.item_metadata(step)
            other = next((found for name, tree in trees.items() if (found := _difference(saved[name], tree))), None)
            if other is None:
                wanted = {name: ocp.args.StandardRestore(jax.tree.map(_target, tree)) for name, tree in trees.items()}
                return self._manager.restore(step, args=ocp.args.Composite(**wanted, **items))
        except Exception as error:
            self._stderr_filter.drop()
            if lost(error):
                raise
            raise CheckpointError(
                f"checkpoint {where} cannot be read ({_reason(error)}): {self._remedy(step)}"
            ) from error
        raise CheckpointError(f"checkpoint {where} is of another model: {other}")

    def _remedy(self, damaged):
        """What to do about a damaged step: the newest of the others that is whole."""
        others = sorted(set(self._manager.all_steps()) - {damaged}, reverse=True)
        whole = next((step for step in others if digests.fault(self.folder / str(step)) is None), None)
        if whole is None:
            return "nothing was changed, and no other step is whole. Train anew in another folder"
        return (
            f"nothing was changed. The newest whole one is step {whole}, give --step {whole} (step={whole}) to use it"
        )


def _renamed(path):
    """Rename a folder to its name with .aside, or .aside2 and so on where there is one; the new path."""
    numbers = ("", *range(2, 1000))
    free = next(new for n in numbers if not (new := path.with_name(f"{path.name}.aside{n}")).exists())
    return path.rename(free)


def _reason(error):
    """What the system said, else the first line of an error.

    Orbax hands on TensorStore's messages, in which the system's words stand amid paths and details in no fixed order.
    """
    text = str(getattr(error, "strerror", None) or error).strip()
    if said := next((words for words in map(os.strerror, errno.errorcode) if words in text), None):
        return said
    lines = text.splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _arrays(state):
    """The fields that are pytrees with at least one array (Orbax stores no empty item)."""
    return [name for name in TREES if jax.tree.leaves(getattr(state, name))]


def _difference(saved, wanted) -> str | None:
    """The first array whose name or shape differs between a saved tree (Orbax's metadata) and another; None: equal."""
    there = {leaf.name: tuple(leaf.shape) for leaf in jax.tree.leaves(saved)}
    leaves = jax.tree_util.tree_leaves_with_path(wanted)
    here = {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
    for name in [*here, *there]:
        if there.get(name) != here.get(name):
            return f"{name} has shape {there.get(name, 'none')} there and {here.get(name, 'none')} in the config"
    return None


def _target(a):
    """What a leaf is restored into; the sharding must be named, or the saved placement is silently kept."""
    sharding = getattr(a, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
