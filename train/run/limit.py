"""How many training steps fit into a time on this machine."""

import time
from contextlib import closing

from fewstep.diffusion.levers import under
from fewstep.errors import UsageError
from fewstep.samplers import preview_table
from fewstep.samplers.cost import passes
from fewstep.train.logs.images import previewed
from fewstep.train.loop import Training
from fewstep.train.sharding import global_batch, local_rows
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import any_process, broadcast_from_main

MEASURED = 3.0  # seconds of steps
SPARE = 0.05  # share of the time for checkpoints, and for machines that are slower at times
FORWARD = 1 / 3  # a network call, in calls with their gradient


def steps_within(training: Training, minutes: float, scored: int = 0) -> int:
    """The number of steps that fit into `minutes`, at most those of the experiment, with compilation and previews,
    each with a score of `scored` images.

    It takes the first steps, with a state that it discards.  All processes must call this, and get the same number.
    Raises UsageError if there is no time for a step.
    """
    size, mesh = training.experiment.batch_size, training.mesh
    begun = first = now = time.monotonic()
    state, done = training.fresh(), 0
    with closing(training.batches.stream(0, training.experiment.steps, local_rows(mesh, size))) as batches:
        for batch in batches:
            state, metrics = training.step(state, global_batch(mesh, batch, size))
            metrics["loss"].block_until_ready()
            now, done = time.monotonic(), done + 1
            first = now if done == 1 else first
            if any_process(done > 1 and now - first >= MEASURED):
                break
    each, compilation = (now - first) / max(done - 1, 1), first - begun
    left = (1 - SPARE) * (60 * minutes - (now - begun) - compilation)  # the schedule is compiled again
    each_with_previews = each * (1 + _share_of_previews(training, scored))
    steps = broadcast_from_main(int(left / max(each_with_previews, 1e-9)))
    if steps < 1:
        raise UsageError(
            f"train.minutes = {minutes:g} leave no time for steps, after {compilation:.0f} s of compilation: give more"
        )
    most = training.experiment.steps
    fits = f"all {most} steps fit into" if steps >= most else f"{steps} steps of {1000 * each:.3g} ms fit into"
    say(f"{fits} {minutes:g} minutes: train.steps = {min(steps, most)}")
    return min(steps, most)


def _share_of_previews(training, scored):
    """The time of previews, relative to that of the steps between them, by their network calls."""
    experiment, data = training.experiment, training.data
    model, shapes = experiment.abstract(data.shape, data.classes)
    den = model.denoiser(shapes)
    calls = passes(under(den, experiment.levers), preview_table(den), data.shape)
    return FORWARD * (previewed(data.shape) + scored) * calls / (experiment.preview_every * experiment.batch_size)
