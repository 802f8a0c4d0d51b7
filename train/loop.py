"""The training loop: one for every objective, resumable at any step."""

import signal
import threading

import jax
from etils import epath

from train.checkpoints import Checkpoints
from train.data import Batches
from train.metrics import Metrics
from train.pictures import write_preview
from train.progress import progress
from train.sharding import make_mesh, replicated
from train.state import initial
from train.step import PATIENCE, make_step

AHEAD = 16  # steps dispatched before the host waits: more would only fill memory


class Diverged(Exception):
    """The loss stayed NaN or infinite."""


def train(experiment, data, folder) -> int:
    """Train to experiment.steps in `folder`, from its newest checkpoint if there is one; the step reached.

    SIGTERM and Ctrl-C save and return early.  Raises CheckpointError for a checkpoint that cannot be read and Diverged
    after PATIENCE bad steps in a row; what is on disk stays.
    """
    folder = epath.Path(folder)
    mesh = make_mesh(experiment.mesh)
    model, _ = experiment.abstract(data.shape, data.classes)
    optimizer = experiment.optimizer(experiment.steps)
    batches = Batches(data.train, experiment.batch_size, experiment.seed)
    step = make_step(model, experiment.objective, optimizer, mesh, experiment.seed)
    with Checkpoints(folder / "checkpoints") as checkpoints, _stopping() as stop:
        state = _begin(experiment, data, optimizer, mesh, checkpoints)
        now = int(state.step)
        with Metrics(folder / "metrics.jsonl", now) as log, progress(experiment.steps, now) as show:
            while now < experiment.steps and not stop.is_set():
                state, metrics = step(state, batches.batch(now))
                now += 1
                if now % AHEAD == 0:
                    metrics["loss"].block_until_ready()
                if now % experiment.log_every == 0 or now == experiment.steps:
                    _check(state, now)
                    values = {name: float(value) for name, value in metrics.items()}
                    log.log(step=now, **values)
                    show(now, f"loss {values['loss']:.4f}")
                if now % experiment.save_every == 0:
                    checkpoints.save(now, state)
                if now % experiment.preview_every == 0:
                    den = model.denoiser(_shortest(state.ema)["net"])
                    _preview(folder / "samples" / f"{now:08d}.png", den, data.shape)
        _check(state, now)
        checkpoints.save(now, state)
    return now


def _begin(experiment, data, optimizer, mesh, checkpoints):
    """The newest state saved, or a fresh one; placed on the mesh from the start either way."""

    def fresh():
        params = {"net": experiment.params(data.shape, data.classes)}
        return initial(params, experiment.ema, optimizer)

    everywhere = replicated(mesh)
    if (step := checkpoints.latest()) is None:
        return jax.jit(fresh, out_shardings=everywhere)()
    shapes = jax.eval_shape(fresh)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes)
    return jax.device_put(checkpoints.restore(step, like), everywhere)


def _check(state, now):
    if int(state.bad) >= PATIENCE:
        raise Diverged(
            f"the loss was NaN or infinite for {int(state.bad)} steps in a row, up to step {now}: lower the learning "
            f"rate or look at the data; the last checkpoint is from before, and the same command goes on from there"
        )


def _shortest(ema):
    return ema[min(ema, key=float)]


def _preview(path, den, shape):
    if len(shape) == 3 and shape[-1] in (1, 3):
        write_preview(path, den, shape)


class _stopping:
    """While active, SIGTERM and the first Ctrl-C set the event it yields; a second Ctrl-C interrupts as usual."""

    def __enter__(self):
        self.event, self.before = threading.Event(), {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._stop)
        return self.event

    def _stop(self, number, frame):
        if self.event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.event.set()

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)
