"""Orbax checkpoints: one item per field of State, so that the EMA weights can be restored without the optimizer."""

import errno
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

from fewstep.train.checkpoints import digests
from fewstep.train.checkpoints.orbax_stderr import OrbaxStderrFilter
from fewstep.train.checkpoints.orbax_threads import end_waiting
from fewstep.train.state import State
from fewstep.train.utils.errors import CheckpointError
from fewstep.train.utils.files import absolute, is_checkpoint, is_remote
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import any_process, barrier, is_disconnect, is_main_process

PATIENCE = 300  # seconds that processes wait for one that has not written its shards
TREES = ("params", "ema", "frozen", "opt_state", "memory")  # the fields of State that are pytrees of arrays


class Checkpoints:
    """The checkpoints of one run, as a context manager that waits for the save in progress on exit.

    The last `keep` of them are kept (None: all), and that of the step `kept`.

    create=False opens it for reading: no folder is created, and temporary files are not removed, since they may belong
    to a save in progress in another process.

    With several processes, all of them open, save and restore together, in one folder that all of them can access.
    """

    def __init__(self, folder: epath.PathLike, keep: int | None = 3, create: bool = True):
        self.folder = absolute(folder)
        if self.folder.is_file():
            raise CheckpointError(f"{self.folder} is a file: move it away, checkpoints go to a folder of that name")
        self._saving: int | None = None
        self.kept: int | None = None
        self._stderr_filter = OrbaxStderrFilter()
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # errors are raised as well
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), self]),
            create=create,
            cleanup_tmp_directories=create,
            async_options=ocp.AsyncOptions(timeout_secs=PATIENCE, post_finalization_callback=self._seal),
        )
        handlers: dict[str, Any] = {name: _handler() for name in TREES}
        handlers["counters"] = ocp.JsonCheckpointHandler()
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)
        self._others = {step for step in self._manager.all_steps() if not is_checkpoint(self.folder / str(step))}
        for step in sorted(self._others):
            _say_once(f"{self.folder / str(step)} is no checkpoint, and is passed over")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and is_disconnect(error):
            return  # closing would wait for the other processes
        try:
            with self._written():
                self._manager.close()
        except CheckpointError:
            if not isinstance(error, CheckpointError):  # otherwise it was raised already
                raise
        finally:
            self._stderr_filter.close()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Which of them to keep besides the last ones, as a policy of Orbax."""
        return [one.step == self.kept for one in checkpoints]

    def steps(self) -> list[int]:
        """The saved steps in order, without folders of that name that hold nothing of a checkpoint."""
        return sorted(set(self._manager.all_steps()) - self._others)

    def latest(self) -> int | None:
        """The newest saved step, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: State) -> None:
        """Save the state in the background; does nothing if the step is saved already."""
        if step in self.steps():
            return
        self._check_free_space(state)
        with self._written():
            self._manager.wait_until_finished()  # Orbax would wait as well; _saving must not change before
        self._saving = step
        fields = {name: ocp.args.PyTreeSave(getattr(state, name)) for name in _arrays(state)}
        counters = ocp.args.JsonSave({"step": int(state.step), "bad": int(state.nonfinite_steps)})
        with self._written():
            self._manager.save(step, args=ocp.args.Composite(counters=counters, **fields))

    @contextmanager
    def _written(self):
        """Raise Orbax's write errors, which have no common base class, as CheckpointError."""
        try:
            yield
        except Exception as error:
            self._stderr_filter.drop()
            if is_disconnect(error):
                raise
            end_waiting()
            raise CheckpointError(
                f"checkpoint {self.folder / str(self._saving)} could not be written ({_reason(error)}). Earlier ones "
                f"are intact: fix this, and the same command resumes from the newest"
            ) from error

    def _check_free_space(self, state):
        """Raise CheckpointError for a full disk before Orbax's threads run into it."""
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = needed if is_remote(self.folder) else shutil.disk_usage(self.folder).free
        if any_process(free < needed):
            raise CheckpointError(
                f"not enough disk space for a checkpoint in {self.folder}: it needs {needed / 2**20:.1f} MB, and "
                f"{free / 2**20:.1f} MB are free. Earlier ones are intact: free some space, and the same command "
                f"resumes from the newest"
            )

    def _seal(self):
        """Write the digests of the step that is being saved; an error here prevents its finalization.

        Orbax calls this in a thread of process 0, after the files of all processes are written and merged, and before
        it finalizes the step, by renaming its folder or (gs://) by a file commit_success.txt in it.
        """
        unfinished = self.folder / f"{self._saving}.orbax-checkpoint-tmp"
        digests.write(unfinished if unfinished.exists() else self.folder / str(self._saving))

    def remove(self, step: int) -> None:
        """Remove a step."""
        self._manager.delete(step)

    def set_aside(self, step: int) -> None:
        """Rename later steps, and what is no checkpoint, to STEP.aside, and log it; renamed ones are never listed, read
        or removed."""
        later = [other for other in self._manager.all_steps() if other > step or other in self._others]
        if later and is_main_process():
            names = [_renamed(self.folder / str(other)).name for other in later]
            say(f"resuming from step {step}: the later checkpoints in {self.folder} are now {', '.join(names)}")
        barrier("later checkpoints are set aside")
        self._manager.reload()
        self._others.clear()

    def restore(self, step: int, like: State) -> State:
        """The full state, placed like `like` (arrays, or shapes with shardings)."""
        names = _arrays(like)
        found = self._restore(step, {name: getattr(like, name) for name in names}, counters=ocp.args.JsonRestore())
        counters: Any = {
            field: np.int32(found["counters"][name]) for field, name in (("step", "step"), ("nonfinite_steps", "bad"))
        }
        return like._replace(**counters, **{name: found[name] for name in names})

    def restore_ema(self, step: int, like: Any) -> dict:
        """The EMA weights alone: {decay: params}."""
        return self._restore(step, {"ema": like})["ema"]

    def _restore(self, step, trees, **items) -> Any:
        """Checks for damage before Orbax restores, which would miss some errors and report others unclearly."""
        where, steps = self.folder / str(step), self.steps()
        if step not in steps:
            raise CheckpointError(f"{self.folder} has no step {step} (it has: {', '.join(map(str, steps)) or 'none'})")
        if damage := digests.damage(where):
            raise CheckpointError(f"checkpoint {where} is damaged ({damage}): {self._remedy(step)}")
        try:
            saved = {name: _handler().metadata(where / name) for name in trees}
            other = next((found for name, tree in trees.items() if (found := _difference(saved[name], tree))), None)
            if other is None:
                wanted = {name: _wanted(jax.tree.map(_target, tree)) for name, tree in trees.items()}
                return self._manager.restore(step, args=ocp.args.Composite(**wanted, **items))
        except Exception as error:
            self._stderr_filter.drop()
            if is_disconnect(error):
                raise
            raise CheckpointError(
                f"checkpoint {where} cannot be read ({_reason(error)}): {self._remedy(step)}"
            ) from error
        raise CheckpointError(f"checkpoint {where} is of another model: {other}")

    def _remedy(self, damaged):
        """What to do about a damaged step: use the newest intact one."""
        others = sorted(set(self.steps()) - {damaged}, reverse=True)
        whole = next((step for step in others if digests.damage(self.folder / str(step)) is None), None)
        if whole is None:
            return "nothing was changed, and no other step is intact. Train again in another folder"
        return f"nothing was changed. The newest intact one is step {whole}; give step={whole} to use it"


_say_once = cache(say)


def _handler():
    """Without compression, which takes longer than the disk and saves a few percent of the size of weights."""
    return ocp.PyTreeCheckpointHandler(use_compression=False)


def _wanted(targets):
    return ocp.args.PyTreeRestore(targets, restore_args=ocp.checkpoint_utils.construct_restore_args(targets))


def _renamed(path):
    """Rename a folder to NAME.aside, or NAME.aside2 and so on if that exists; returns the new path."""
    numbers = ("", *range(2, 1000))
    free = next(new for n in numbers if not (new := path.with_name(f"{path.name}.aside{n}")).exists())
    return path.rename(free)


def _reason(error):
    """The operating system's message, otherwise the first line of the error.

    Orbax passes on messages of TensorStore, in which the system's message is surrounded by paths and details.
    """
    text = str(getattr(error, "strerror", None) or error).strip()
    if message := next((words for words in map(os.strerror, errno.errorcode) if words in text), None):
        return message
    lines = text.splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _arrays(state):
    """The fields with at least one array (Orbax cannot store empty items)."""
    return [name for name in TREES if jax.tree.leaves(getattr(state, name))]


def _difference(saved, wanted) -> str | None:
    """The first difference in name or shape between a saved tree (Orbax's metadata) and another; None if equal."""
    there = {leaf.name: tuple(leaf.shape) for leaf in jax.tree.leaves(saved)}
    leaves = jax.tree_util.tree_leaves_with_path(wanted)
    here = {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}
    for name in [*here, *there]:
        if there.get(name) != here.get(name):
            return f"{name} has shape {there.get(name, 'none')} in it and {here.get(name, 'none')} in the config"
    return None


def _target(a):
    """The restore target of a leaf; it must have a sharding, or Orbax silently keeps the saved one."""
    sharding = getattr(a, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
