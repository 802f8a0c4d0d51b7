"""The training loop: one for every objective, resumable at any step."""

from collections.abc import Callable
from threading import Event
from typing import Any, NamedTuple

import jax
from etils import epath
from jax.sharding import Mesh

from diffusion.denoiser import Model
from train.checkpoints import Checkpoints
from train.data import Batches, Dataset
from train.errors import Diverged
from train.experiment import Experiment
from train.logs import Logs
from train.pictures import preview
from train.progress import progress
from train.sharding import make_mesh, replicated
from train.state import initial
from train.step import PATIENCE, make_step

AHEAD = 16  # steps dispatched before the host waits: more would only fill memory


class Training(NamedTuple):
    """All that a run needs but its folder."""

    experiment: Experiment
    data: Dataset
    mesh: Mesh
    model: Model
    batches: Batches
    fresh: Callable[[], Any]  # jitted: the state before the first step, placed on the mesh
    step: Callable[[Any, Any], Any]  # jitted: (state, batch) -> (state, metrics)


def prepare(experiment: Experiment, data: Dataset) -> Training:
    """Everything built, and traced once without computing: what is wrong with an experiment is raised here."""
    mesh = make_mesh(experiment.mesh)
    batches = Batches(data.train, experiment.batch_size, experiment.seed)
    model, _ = experiment.abstract(data.shape, data.classes)
    optimizer = experiment.optimizer(experiment.steps)

    def fresh():
        params = {"net": experiment.params(data.shape, data.classes)}
        return initial(params, experiment.ema, optimizer)

    fresh = jax.jit(fresh, out_shardings=replicated(mesh))
    step = make_step(model, experiment.objective, optimizer, mesh, experiment.seed)
    step.eval_shape(fresh.eval_shape(), batches.batch(0))
    return Training(experiment, data, mesh, model, batches, fresh, step)


def train(training: Training, folder, stop: Event | None = None, score: Callable | None = None) -> int:
    """Train to experiment.steps in `folder`, from its newest checkpoint if there is one; the step reached.

    Once `stop` is set, it saves and returns early.  What score(den) says, {name: number}, is logged at every preview.
    No other process may train there meanwhile (`files.alone`).  Raises CheckpointError for a checkpoint that cannot be
    read or written, and Diverged after PATIENCE bad steps in a row; what is on disk stays.
    """
    folder, experiment = epath.Path(folder), training.experiment
    stop = stop or Event()
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state = _begin(training, checkpoints)
        now = int(state.step)
        with (
            Logs(folder, now, experiment.batch_size, experiment.wandb) as logs,
            progress(experiment.steps, now) as show,
        ):
            while now < experiment.steps and not stop.is_set():
                state, metrics = training.step(state, training.batches.batch(now))
                now += 1
                values = {}
                if now % AHEAD == 0:
                    metrics["loss"].block_until_ready()
                if now % experiment.log_every == 0 or now == experiment.steps:
                    values = {name: float(value) for name, value in metrics.items()}
                    show(now, f"loss {values['loss']:.4f}")
                if now % experiment.preview_every == 0:
                    metrics["loss"].block_until_ready()
                    with logs.aside():
                        values |= _preview(training, state, now, logs, score)
                if values:
                    logs.log(now, **values)
                    _check(state, now)
                if now % experiment.save_every == 0:
                    _check(state, now)
                    with logs.aside():
                        logs.flush()
                        checkpoints.save(now, state)
        _check(state, now)
        checkpoints.save(now, state)
    return now


def _begin(training, checkpoints):
    """The newest state saved, or a fresh one; placed on the mesh from the start either way."""
    if (step := checkpoints.latest()) is None:
        return training.fresh()
    everywhere = replicated(training.mesh)
    shapes = training.fresh.eval_shape()
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes)
    return jax.device_put(checkpoints.restore(step, like), everywhere)


def _preview(training, state, now, logs, score):
    """Write the picture; the scores."""
    den = training.model.denoiser(_shortest(state.ema)["net"])
    if (seen := preview(den, training.data.shape)) is not None:
        logs.picture(now, seen)
    kept = training.model.denoiser(state.ema[str(training.experiment.ema[0])]["net"])  # the one that a run opens with
    return score(kept) if score else {}


def _check(state, now):
    if int(state.bad) >= PATIENCE:
        raise Diverged(
            f"the loss was NaN or infinite for {int(state.bad)} steps in a row, up to step {now}: look at the data, or "
            f"start anew in another --run folder with a lower learning rate. The checkpoints from before are whole"
        )


def _shortest(ema):
    return ema[min(ema, key=float)]
