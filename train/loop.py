"""The training loop: one for every objective, resumable at any step."""

from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from threading import Event
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from fewstep.diffusion.denoiser import Cond, Model
from fewstep.diffusion.levers import enlarged, under
from fewstep.diffusion.predict import predict_shape
from fewstep.errors import UsageError
from fewstep.samplers import preview_table
from fewstep.samplers.checks import check_capabilities
from fewstep.train import ema, sharding
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.checkpoints.snapshots import Snapshots
from fewstep.train.checkpoints.warm_start import with_weights
from fewstep.train.data import Batches, Dataset, Split
from fewstep.train.data.pairs import Paired
from fewstep.train.experiment import Experiment
from fewstep.train.logs.best import Best, logged
from fewstep.train.logs.cost import Cost
from fewstep.train.logs.images import preview
from fewstep.train.logs.jsonl import read
from fewstep.train.logs.logs import Logs
from fewstep.train.objectives.objective import Objective
from fewstep.train.sharding import batch_sharding, gathered, global_batch, local_rows, make_mesh
from fewstep.train.state import initial_state
from fewstep.train.step import PATIENCE, make_step
from fewstep.train.utils.errors import Diverged
from fewstep.train.utils.memory import amount
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import any_process, broadcast_from_main
from fewstep.train.utils.progress import QUIET, progress

AHEAD = 16  # steps that the host dispatches ahead of the device; more would only use memory


class Training(NamedTuple):
    """A prepared training run, without its folder."""

    experiment: Experiment
    data: Dataset
    mesh: Mesh
    model: Model
    pairs: Split | None  # replace the training images
    batches: Batches
    fresh: Any  # jitted: () -> the initial state, placed on the mesh
    placed: Any  # the sharding of each array of the state
    step: Any  # jitted: (state, batch) -> (state, metrics)


def prepare(experiment: Experiment, data: Dataset) -> Training:
    """Build everything, and trace a training step without running it, so that invalid experiments raise here."""
    mesh = make_mesh(experiment.mesh)
    _check_divisible(experiment, mesh)
    if not isinstance(data, Dataset):
        raise UsageError("train.data must be a data set: set pairs as train.pairs")
    if experiment.patience and len(data.held_out) < 2:
        raise UsageError(f"train.patience requires two held-out images, and {data.name} has fewer: set it to None")
    pairs = _pairs(experiment, data) if experiment.pairs else None
    split, size = data.train if pairs is None else pairs, experiment.batch_size
    coupling = experiment.coupling and experiment.coupling.couple(split, data.classes if experiment.conditional else 0)
    batches = Batches(split, size, experiment.seed, experiment.flip, coupling)
    model, shapes = experiment.abstract(data.shape, data.classes)
    _check_preview_levers(model.denoiser(shapes), experiment.levers, data)
    objective = cast(Objective, experiment.objective)
    optimizer = experiment.optimizer_for(data.shape, data.classes)

    extra = partial(experiment.extra_params, data.shape, data.classes)

    def fresh():
        net = {"net": experiment.params(data.shape, data.classes)}
        frozen = {"teacher": jax.tree.map(jnp.copy, net)} if objective.needs_teacher else {}
        copies = {name: jax.tree.map(jnp.copy, net["net"]) for name in objective.copies}
        averages = ema.names(experiment.ema, experiment.ema_lengths)
        state = initial_state(net | extra(), averages, optimizer, frozen, copies)
        return state._replace(memory=objective.memory())

    state = jax.eval_shape(fresh)
    placed = sharding.parameter_shardings(shapes, experiment.axes(data.shape, data.classes), mesh)
    whole = jax.tree.map(lambda _: sharding.replicated(mesh), jax.eval_shape(extra))
    networks = dict.fromkeys(("net", *objective.copies), placed)
    placed = sharding.state_shardings(state, networks | whole, optimizer, mesh)
    if (parts := mesh.shape["fsdp"] * mesh.shape["tensor"]) > 1:
        part = sharding.device_share(state.params, placed.params)
        say(f"each device holds {part:.1%} of the parameters (1/{parts} would be {1 / parts:.1%})")
    if objective.copies or state.memory:
        size, several = amount(sharding.device_bytes(state, placed)), f"{len(networks)} networks are trained: "
        say(f"{several if objective.copies else ''}the state takes {size} on each device")
    fresh = jax.jit(fresh, out_shardings=placed)
    step: Any = make_step(model, objective, optimizer, mesh, placed, experiment.seed, experiment.accumulate)
    one = batches.batch(0, slice(1))
    step.eval_shape(state, jax.tree.map(lambda a: jax.ShapeDtypeStruct((batches.size, *a.shape[1:]), a.dtype), one))
    return Training(experiment, data, mesh, model, pairs, batches, fresh, placed, step)


def _check_preview_levers(den, levers, data):
    """Raises UsageError if previews cannot be drawn, because of the levers if there are any."""
    den = under(den, levers)
    if enlarged(data.shape, den) != tuple(data.shape):
        raise UsageError("train.levers: previews have the size of the data, so remove upsample_guidance")
    cond = Cond(np.zeros(1, np.int32)) if den.classes else Cond()
    try:
        check_capabilities(den, preview_table(den))
        predict_shape(den, np.zeros((1, *data.shape), np.float32), np.float32(0.5), None, cond)
    except UsageError as error:
        if not levers:
            raise
        raise UsageError(f"train.levers: previews cannot be drawn with these levers: {error}") from None


def _pairs(experiment, data):
    pairs = experiment.pairs()
    if not isinstance(pairs, Split) or not isinstance(pairs.source, Paired):
        raise UsageError("train.pairs must be a source of pairs: set train.pairs = @pairs")
    if pairs.shape != data.shape:
        raise UsageError(f"train.pairs have images of shape {pairs.shape}, the data {data.shape}: draw other pairs")
    if experiment.conditional and data.classes:
        label = pairs.source.labels
        if label is None or label.max() >= data.classes:
            raise UsageError(
                f"train.pairs have {'no labels' if label is None else f'a label {label.max()}'}, but the data has "
                f"{data.classes} classes: draw other pairs, or set train.conditional = False"
            )
    return pairs


def _check_divisible(experiment, mesh):
    devices, parts, size = mesh.shape["data"] * mesh.shape["fsdp"], experiment.accumulate, experiment.batch_size
    if size % (devices * parts):
        raise UsageError(
            f"train.batch_size = {size} is not divisible by {devices} devices"
            + (f" times train.accumulate = {parts}" if parts > 1 else "")
            + f": choose a multiple of {devices * parts}, or another train.mesh"
        )


def train(
    training: Training,
    folder: epath.PathLike,
    stop: Event | None = None,
    step: int | None = None,
    score: Callable | None = None,
    weights: Callable | None = None,
) -> int:
    """Train to experiment.steps in `folder`, resuming from its newest checkpoint; returns the step reached.

    weights() returns initial parameters (`warm_start.with_weights`); None: a random initialization.  With `step` it
    resumes from that checkpoint and renames later ones (`Checkpoints.set_aside`).  When `stop` is set, it saves and
    returns early.  score(den) -> {name: number} is logged at every preview.  The caller must hold the folder's lock
    (`files.folder_lock`).  With `patience`, which requires a score, training may end before, and the checkpoint of the
    best preview is kept (`train.logs.best`).  Raises CheckpointError for a checkpoint that cannot be read or written,
    and Diverged after PATIENCE non-finite steps in a row; earlier checkpoints are kept.
    """
    folder, experiment, size = epath.Path(folder), training.experiment, training.experiment.batch_size
    stop, rows = stop or Event(), local_rows(training.mesh, size)
    lengths, steps = experiment.ema_lengths, experiment.steps
    with (
        Checkpoints(folder / "checkpoints") as checkpoints,
        Snapshots(folder, lengths, steps, experiment.save_every) as snapshots,
    ):
        state = _start(training, checkpoints, step, weights)
        now, stopped = int(state.step), False
        snapshots.resume(now, state)
        found = dict(broadcast_from_main([*logged(read(folder / "metrics.jsonl"), now).items()]))
        best = Best(found, checkpoints.steps(), experiment.patience)
        checkpoints.kept = best.kept
        with (
            Logs(folder, now, size, experiment.wandb) as logs,
            progress(experiment.steps, now, note="compiling", after=0 if now < experiment.steps else QUIET) as show,
            closing(training.batches.stream(now, experiment.steps, rows)) as batches,
        ):
            ahead, cost = deque(), Cost(training.step, experiment.steps, experiment.accumulate)
            while now < experiment.steps and not (stopped or best.over):
                batch = global_batch(training.mesh, next(batches), size)
                state, metrics = training.step(state, batch)
                now += 1
                values = {}
                ahead.append(metrics["loss"])
                if len(ahead) == AHEAD:
                    ahead.popleft().block_until_ready()
                if now % AHEAD == 0 or now % experiment.log_every == 0 or jax.process_count() == 1:
                    stopped = any_process(stop.is_set())
                if now % experiment.log_every == 0 or now == experiment.steps:
                    values = {name: float(value) for name, value in metrics.items()}
                    show(now, f"loss {values['loss']:.4f}")
                    cost.tell(now, state, batch)
                if now % experiment.preview_every == 0:
                    metrics["loss"].block_until_ready()
                    with logs.untimed():
                        values |= _preview(training, state, now, logs, score)
                    best.see(now, values)
                    checkpoints.kept = best.kept
                    cost.interrupt()
                if values:
                    logs.log(now, **values)
                    _check(state, now)
                if now % experiment.save_every == 0 or now == best.kept:
                    _check(state, now)
                    with logs.untimed():
                        logs.flush()
                        if now % experiment.save_every == 0:
                            snapshots.take(now, state)
                        checkpoints.save(now, state)
                    cost.interrupt()
        _check(state, now)
        checkpoints.save(now, state)
    return now


def _start(training, checkpoints, step, weights):
    """The state of a step (None: the newest saved one, or the initial state), placed on the mesh."""
    step = checkpoints.latest() if step is None else step
    if step is None:
        objective = training.experiment.objective
        if weights is None and (objective.trainable_part or objective.needs_teacher or objective.requires):
            raise UsageError("the objective requires initial weights of another run: give init_from")
        checkpoints.set_aside(0)
        return training.fresh() if weights is None else with_weights(training.fresh(), weights())
    shapes = training.fresh.eval_shape()
    like = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, training.placed)
    state = checkpoints.restore(step, like)
    checkpoints.set_aside(step)
    return jax.device_put(state, training.placed)


def _preview(training, state, now, logs, score):
    """Log samples of the EMA weights with the first decay; returns their scores."""
    params = state.ema[str(training.experiment.ema[0])]["net"]
    params = jax.device_put(params, jax.tree.map(gathered, training.placed.params["net"]))
    den = under(training.model.denoiser(params), training.experiment.levers)
    if (pixels := preview(den, training.data.shape, batch_sharding(training.mesh))) is not None:
        logs.picture(now, pixels)
    return broadcast_from_main(score(den)) if score else {}


def _check(state, now):
    if int(state.nonfinite_steps) >= PATIENCE:
        raise Diverged(
            f"the loss was NaN or infinite for {int(state.nonfinite_steps)} steps in a row, up to step {now}: check "
            f"the data, or train again in another folder with a lower learning rate. Earlier checkpoints are intact"
        )
