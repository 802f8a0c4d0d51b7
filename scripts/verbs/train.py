"""fewstep train."""

import secrets
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache

import jax
from etils import epath

from fewstep.cli import parse
from fewstep.cli.config.further import goes_further, steps_for
from fewstep.cli.config.given import handing_over, kept_parts, parts_given
from fewstep.cli.config.load import canonical_text, experiment, find, load
from fewstep.cli.config.messages import building
from fewstep.cli.config.open_run import open_run
from fewstep.cli.config.parse import file_text
from fewstep.cli.errors import UserError
from fewstep.cli.options import Overrides
from fewstep.cli.signals import stopping
from fewstep.cli.verbs.features import with_features
from fewstep.cli.verbs.init_from import initial_weights
from fewstep.evaluation.preview_score import preview_score
from fewstep.evaluation.report.training import write_curve
from fewstep.train.data.fingerprint import change
from fewstep.train.data.kept import FILE, keep
from fewstep.train.experiment import Experiment
from fewstep.train.logs.best import best_preview
from fewstep.train.logs.cost import memory
from fewstep.train.logs.wandb import require
from fewstep.train.loop import Training, prepare, train
from fewstep.train.run import Run
from fewstep.train.run.parts import changed, digests
from fewstep.train.run.run import describe, read_description, write_description
from fewstep.train.run.seal import seal
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.files import check_is_text, folder_lock, read_text, write_atomic
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import all_same, any_process, barrier, broadcast_from_main, is_main_process
from fewstep.train.utils.sealed import config_parts, write_config


def main(
    config: str, folder: str, overrides: Overrides, step: int | None, init_from: str | None, extend: bool = False
) -> None:  # fmt: skip
    """Check everything that can be checked before anything is written, then train."""
    path = find(config)

    def other(start):
        run = open_run(parse.path(start, "--init-from"), overrides.trust, mesh=training.experiment.mesh)
        load(path, overrides.set, overrides.trust)  # whose bindings those of the other run have replaced
        return run

    def featured(made):
        return with_features(made, data(), run, parse.path(init_from, "--init-from") if init_from else None)

    run = parse.path(folder, "--run")
    check_is_text(run)
    with handing_over(kept_parts(path.parent, file_text(path)), overrides.trust):
        made, text = described(config, overrides)
        data = cache(made.data)
        if made.minutes is not None:
            with building(path, overrides.set):
                steps = steps_for(run, made.minutes, extend, lambda: prepare(featured(made), data()))
            limit = [f"train.steps={steps}", "train.minutes=None"]
            made, text = described(config, replace(overrides, set=[*overrides.set, *limit]))
        goes_further(run, text, extend)  # what contradicts the run is told before the data are read
        with building(path, overrides.set):
            training = prepare(featured(made), data())
        train_in(run, training, text, step, init_from, other, extend, ends=True)


def train_in(
    folder: epath.Path,
    training: Training,
    text: str,
    step: int | None = None,
    init_from: epath.PathLike | None = None,
    other: Callable[[epath.PathLike], Run] = open_run,
    extend: bool = False,
    ends: bool = False,
) -> None:
    """Train in a folder, or resume there.

    text: the config, which the run stores.  other: opens the run `init_from`.  extend: the run may be trained for more
    steps than it was begun with.  ends: the process is about to end, as for `stopping`.  Raises KeyboardInterrupt if
    training was stopped and the process goes on.
    """
    if not all_same(text):
        raise UserError("the processes read different configs: give all of them the same one")
    if not all_same(str(init_from)):
        raise UserError("the processes were given different init_from: give all of them the same run")
    differs = change(broadcast_from_main(describe(training)), training.data, training.pairs)
    if any_process(differs is not None):
        raise UserError(
            f"the processes must read the same data, but process 0 and another do not ({differs or 'not here'})"
        )
    if training.experiment.wandb:
        require()
    if step is not None and not (folder / "config.gin").is_file():
        raise UserError(f"step={step}: {folder} is not a run, and has no checkpoint to resume from")
    start = initial_weights(training, text, folder, init_from, other)
    with stopping(ends) as stop, _opened(folder, training, text, start, extend):
        score, weights = preview_score(training.data, batch_sharding(training.mesh)), start and start.load
        reached, steps = train(training, folder, stop, step, score, weights), training.experiment.steps
        curve = write_curve(folder) if is_main_process() else None
        best = best_preview(folder, reached, training.experiment.patience)
    if best.over and reached < steps:
        say(
            f"{folder}: FD has not fallen since step {best.step}, for train.patience = {best.patience} previews, so "
            f"training ended at step {reached}. Next: fewstep sample {folder} --step {best.step}"
        )
    elif reached < steps:
        say(f"stopped at step {reached} of {steps}; the same {'command' if ends else 'call'} resumes from there")
    else:
        drawn = f" (the loss: {curve})" if curve else ""
        say(f"{folder}: {reached} steps done{drawn}. Next: fewstep sample {folder}")


@contextmanager
def _opened(folder, training, text, start, extend):
    """The folder of the run, prepared by the first process, which holds its lock, and visible to all processes."""
    if is_main_process():
        _made(folder)
        _check_is_run_or_empty(folder)
    with folder_lock(folder) if is_main_process() else nullcontext():
        if is_main_process():
            _begin(folder, training, text, start, extend)
        _check_shared(folder)
        yield


def _check_shared(folder):
    """UserError unless all processes see the same folder: the others must be able to read what the first one writes."""
    if jax.process_count() == 1:
        return
    path = folder / ".together"
    if is_main_process():
        write_atomic(path, secrets.token_hex())
    barrier("the folder of the run is ready")
    shared = all_same(read_text(path) if path.exists() else "")
    if is_main_process():
        path.unlink()
    if not shared:
        raise UserError(
            f"{folder} is not the same folder for all processes: give one on a disk or in a bucket that they share"
        )


def described(config: str, overrides: Overrides) -> tuple[Experiment, str]:
    """The experiment that a config describes, and all values that it uses, as the text of a config."""
    path = find(config)
    load(path, overrides.set, overrides.trust)
    with building(path, overrides.set):
        return experiment(), canonical_text(overrides.set)


def show(config: str, overrides: Overrides) -> None:
    """Print the text of `described`, after a line on the memory that training takes."""
    made, text = described(config, overrides)
    print(f"# {memory(made)}\n{text}", end="")


def _made(folder):
    """Create the folder if needed; UserError if that fails, before anything is trained."""
    parse.writable(folder, "the run")
    probe = folder / ".writable"
    with parse.writing(folder, "the run"):
        probe.touch()
        probe.unlink()


def _check_is_run_or_empty(folder):
    """UserError for a folder that is neither a run nor empty: its files are not ours."""
    found = folder.iterdir() if folder.exists() else ()  # an empty folder of a bucket does not exist
    others = {p.name for p in found if not p.name.endswith(".tmp")}
    others -= {"run.json", ".lock", ".writable", ".together"} | ({FILE} if "run.json" in others else set())
    if others and "config.gin" not in others:
        raise UserError(f"{folder} contains other files ({', '.join(sorted(others)[:3])}): give an empty folder")


def _begin(folder, training, text, start, extend):
    """Write the config and description of a new run, or check that an existing run has the same config."""
    path, given = folder / "config.gin", parts_given(text)
    longer = goes_further(folder, text, extend)
    goes_on = path.exists() and (folder / "run.json").exists() and start is None
    new = not goes_on or longer
    parts = {"parts": found} if new and (found := digests(training, given)) else {}
    if goes_on:
        _check_goes_on(folder, training, [name for name in given if name != "optimizer" or not longer])
    else:
        write_description(folder, describe(training, start and start.description) | parts)
    if "data" in given:
        keep(folder, training.data, anew=not goes_on)
    if path.exists() and config_parts(read_text(path))[1] is None:
        seal(folder, changed=False)
    if longer:  # an optimizer depends on the number of steps: if the process ends in between, it is not compared
        known = read_description(folder)
        write_description(folder, {name: value for name, value in known.items() if name != "parts"})
        write_config(path, text)
        write_description(folder, known | parts)
        say(f"{folder} is extended to {training.experiment.steps} steps")
    elif not goes_on:
        write_config(path, text)
    say(f"data: {training.data}")
    if training.pairs:
        say(f"pairs: {len(training.pairs)} of noise and image, used instead of the training images")


def _check_goes_on(folder, training, given):
    """UserError if the data, the pairs or the parts that were given in Python are others than when the run began."""
    known = read_description(folder)
    if differs := change(known, training.data):
        raise UserError(
            f"{training.data.name} has changed since the run {folder} began ({differs}), and training would use "
            f"held-out images: restore it, or give another folder"
        )
    if differs := change(known, training.data, training.pairs):
        raise UserError(
            f"the pairs have changed since the run {folder} began ({differs}): restore them, or give another folder"
        )
    used = training.experiment.objective.trained_features
    if others := [name for name, digest in used if [name, digest] not in known["trained_features"]]:
        raise UserError(
            f"the features {others[0]} have changed since the run {folder} began: restore them, or give another folder"
        )
    if name := changed(known, training, given):
        raise UserError(
            f"the {name} is another one than when the run {folder} began: give the same, or another folder (to go on "
            f"with it, remove it from parts in {folder / 'run.json'}, and accept that with `fewstep seal {folder}`)"
        )
