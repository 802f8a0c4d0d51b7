"""The functions for Python users: train a run, compare runs and denoisers, measure images."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from etils import epath
from flax import nnx

from fewstep.cli.config.given import usable
from fewstep.cli.config.open_run import open_run
from fewstep.cli.config.text import config_text
from fewstep.cli.verbs.compare import libraries
from fewstep.cli.verbs.sweep import SAMPLERS as VELOCITY_SAMPLERS
from fewstep.cli.verbs.train import train_in
from fewstep.diffusion.denoiser import INSTANT
from fewstep.diffusion.prediction import VELOCITY, Prediction
from fewstep.diffusion.process import Linear, Process
from fewstep.errors import UsageError, nearest
from fewstep.evaluation.compare import compare as compare_runs
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.features import Features
from fewstep.evaluation.images import image_sets, is_images
from fewstep.evaluation.notebook import ShownComparison
from fewstep.evaluation.subject import Subject
from fewstep.samplers import GRIDS, SAMPLERS, Row, default_sampler
from fewstep.samplers.registry import Sampler
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising, Objective
from fewstep.train.optimizers import adamw
from fewstep.train.run import Run


def train_run(
    folder: epath.PathLike,
    *,
    data: Any,
    network: nnx.Module | Callable[..., Any],
    params: Any = None,
    objective: Objective = Denoising(),
    optimizer: Any = adamw,
    process: Process = Linear(),
    prediction: Prediction = VELOCITY,
    init_from: str | None = None,
    **settings: Any,
) -> Run:
    """Train a model in a folder and open it; called again, training resumes where it stopped.

    data: images (N, H, W, C) or points (N, d), uint8 or in [-1, 1]; or (images, labels), a `Dataset`, a function that
    returns one of these.  network: ours (UNet, DiT, MLP, or a functools.partial of one), your own NNX module, its
    class, or with `params` a function f(params, x, t, ...): see `diffusion.networks.own.constructor`.  optimizer: an
    optax transformation, or a function that makes one, whose first parameter is `steps`, their number.  init_from:
    another run whose averaged weights training starts from.  settings: those of `Experiment`, such as steps,
    batch_size, seed, ema, save_every.

    Raises UsageError for what does not fit, before anything is written.
    """
    given = {"data": data, "network": network, "objective": objective, "optimizer": optimizer} | settings
    given |= {"process": process, "prediction": prediction}
    made = {name: usable(name, value, params if name == "network" else None) for name, value in given.items()}
    experiment = Experiment(**made)
    training = prepare(experiment, experiment.data())
    named = given | {"network": network if params is None else _Unnamed()}
    train_in(epath.Path(folder), training, config_text(experiment, named), init_from=init_from)
    parts = {name: given[name] for name in ("data", "network", "objective", "process", "prediction")}
    return open_run(folder, **parts, **({} if params is None else {"params": params}))


class _Unnamed:
    """Stands for a part that no config can name."""


def compare(
    *subjects: Any,
    nfe: Sequence[int] = (1, 2, 4, 8, 16),
    samplers: Iterable[str | Sampler | Callable[..., Iterable[Row]]] | None = None,
    grids: Iterable[str] = (),
    levers: Sequence[Callable] = (),
    data: Any = None,
    metrics: Iterable[str] = ("FD", "SW"),
    features: Iterable[Features] | None = None,
    count: int = 500,
    seed: int = 0,
    repeats: int = 1,
    batch: int = 256,
    out: epath.PathLike | None = None,
) -> ShownComparison:
    """Compare sample quality by network calls: every sampler at every budget, on the same seeds.

    subjects: runs or their folders, denoisers, oracles; also images made elsewhere, as NumPy arrays (N, H, W, C),
    folders or .npz files, which are measured likewise.  data: real images for denoisers, as `train_run` takes them.
    samplers: names of SAMPLERS, `Sampler` entries, or functions (process, grid) -> rows; by default those of
    `fewstep compare`.  grids: names of GRIDS, by default the sampler's.  levers: around the network, innermost first.
    metrics, features, count, seed, repeats, batch: as of `fewstep compare`.  out: the folder where sampled images and
    features are kept, so that they are not sampled again; by default the first run's `compare`, or a temporary one.

    Returns the comparison, which a notebook shows as its page.  Raises UsageError for what does not fit.
    """
    if not subjects:
        raise UsageError("compare takes runs, folders of runs, denoisers or oracles: give at least one")
    images = image_sets(subject for subject in subjects if is_images(subject))
    runs = [_subject(subject, i, data) for i, subject in enumerate(subjects) if not is_images(subject)]
    if not runs:
        raise UsageError("compare needs a run or a denoiser: for two sets of images call distances")
    chosen = [_sampler(one) for one in (_default_samplers(runs) if samplers is None else samplers)]
    wanted = list(grids)
    several = len(wanted) > 1
    lines = [
        Line(" ".join([sampler.name, *([grid] if grid and several else [])]), sampler, GRIDS, grid, tuple(levers))
        for sampler in chosen
        for grid in wanted or [None]
    ]
    folder = epath.Path(out or (runs[0].folder / "compare"))
    names = tuple(getattr(lever, "__name__", type(lever).__name__) for lever in levers)
    found = compare_runs(
        runs, lines, sorted({int(n) for n in nfe}), folder=folder, metrics=list(metrics),
        features=None if features is None else list(features), count=count, seed=seed, repeats=repeats, batch=batch,
        levers=names, images=images, command="fewstep.compare(...)", environment=libraries(),
    )  # fmt: skip
    if found is None:
        raise UsageError("of several processes, only the first one has the comparison")
    return ShownComparison.of(found)


def _subject(subject, i, data):
    if isinstance(subject, Run):
        return subject
    if isinstance(subject, str) or hasattr(subject, "__fspath__"):
        return open_run(subject)
    if not callable(subject) or not hasattr(subject, "capabilities"):
        raise UsageError(f"{subject!r} is not a run, folder of a run, denoiser or oracle: see fewstep.as_denoiser")
    if data is None:
        raise UsageError("a denoiser is compared with real images: give them, data=images or data=(images, labels)")
    return Subject(f"{type(subject).__name__.lower()}{i or ''}", subject, usable("data", data)())


def _default_samplers(runs):
    jumping = dict.fromkeys(name for name in (default_sampler(run.denoiser) for run in runs) if name != "dpmpp_2m")
    velocities = any(INSTANT in run.denoiser.capabilities for run in runs)
    return [*(VELOCITY_SAMPLERS.split(",") if velocities else []), *jumping]


def _sampler(one: str | Sampler | Callable[..., Iterable[Row]]) -> Sampler:
    if isinstance(one, str):
        if one not in SAMPLERS:
            raise UsageError(f"no sampler is called {one!r}: {nearest(one, SAMPLERS)}")
        return SAMPLERS[one]
    return one if isinstance(one, Sampler) else Sampler(one, None, "uniform", "")
