"""The functions for Python users: train a run, compare runs and denoisers, measure images."""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import fields, replace
from os import PathLike
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from etils import epath
from flax import nnx

from fewstep.cli.config.further import steps_for
from fewstep.cli.config.given import VALUES, parts_given, usable
from fewstep.cli.config.open_run import open_run
from fewstep.cli.config.text import check_reads_back, config_text
from fewstep.cli.options import Opening
from fewstep.cli.parse import results
from fewstep.cli.verbs import import_model
from fewstep.cli.verbs.compare import libraries
from fewstep.cli.verbs.features import named as named_features
from fewstep.cli.verbs.features import with_features
from fewstep.cli.verbs.sampling import again_line
from fewstep.cli.verbs.train import train_in
from fewstep.diffusion.naming import name_of
from fewstep.diffusion.prediction import VELOCITY, Prediction
from fewstep.diffusion.process import Linear, Process
from fewstep.errors import UsageError, listed, lookup, nearest
from fewstep.evaluation import asked
from fewstep.evaluation.compare import compare as compare_runs
from fewstep.evaluation.data import with_data
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.features import Features
from fewstep.evaluation.images import image_sets, is_images, numbered
from fewstep.evaluation.metrics import BATCH, COUNT, METRICS
from fewstep.evaluation.notebook import ShownComparison
from fewstep.evaluation.subject import Subject
from fewstep.ranges import within
from fewstep.samplers import GRIDS, SAMPLERS, Row
from fewstep.samplers.registry import Sampler, compared_samplers
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising, Objective
from fewstep.train.optimizers import adamw
from fewstep.train.run import Run
from fewstep.train.run.fitting import fit_table, prefix
from fewstep.train.run.fitting import method as by_name
from fewstep.train.run.levers import Levers, as_levers
from fewstep.train.run.tables import PREFIX, checked_name, is_fitted, named, of_file, save
from fewstep.train.utils.files import check_is_text, read_text

SamplerLike = str | Sampler | Callable[..., Iterable[Row]]
SETTINGS = {field.name for field in fields(Experiment)}


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
    init_from: Run | epath.PathLike | None = None,
    extend: bool = False,
    **settings: Any,
) -> Run:
    """Train a model in a folder and open it; called again, training resumes where it stopped.

    data: images (N, H, W, C) or points (N, d), uint8 or in [-1, 1]; or (images, labels), a `Dataset`, a function that
    returns one of these.  network: ours (UNet, DiT, MLP, or a functools.partial of one), your own NNX module, its
    class, or with `params` a function f(params, x, t, ...): see `diffusion.networks.own.constructor`.  optimizer: an
    optax transformation, or a function that makes one, whose first parameter is `steps`, their number.  init_from:
    another run, or its folder, whose averaged weights training starts from.  extend: train a run further, to a larger
    number of steps.  settings: those of `Experiment`, such as steps, minutes, batch_size, seed, ema, save_every.

    Ctrl-C saves a checkpoint first, and then raises KeyboardInterrupt.  Raises UsageError for what does not fit, before
    anything is written.
    """
    if not isinstance(folder, str | PathLike):
        raise UsageError(f"folder is the path of the run: got {folder!r}")
    check_is_text(folder)
    if unknown := [name for name in settings if name not in SETTINGS]:
        raise UsageError(f"train_run has no setting {unknown[0]!r}: {nearest(unknown[0], SETTINGS)}")
    given = {"data": data, "network": network, "objective": objective, "optimizer": optimizer} | settings
    given |= {"process": process, "prediction": prediction}
    made = {name: usable(name, value, params if name == "network" else None) for name, value in given.items()}
    start, experiment = init_from.folder if isinstance(init_from, Run) else init_from, Experiment(**made)
    read = experiment.data()
    training = prepare(with_features(experiment, read, epath.Path(folder), start), read)
    if experiment.minutes is not None:
        steps = steps_for(epath.Path(folder), experiment.minutes, extend, lambda: training)
        given |= {"data": training.data, "steps": steps, "minutes": None}
        return train_run(folder, params=params, init_from=init_from, extend=extend, **given)
    values = {name: made[name] for name in VALUES if name in made}
    text = config_text(given | values | ({} if params is None else {"network": _Unnamed()}))
    check_reads_back(text, made, training)

    def other(start):
        if isinstance(init_from, Run):
            return init_from
        config = epath.Path(start) / "config.gin"
        handed = _handed(given, params, read_text(config) if config.is_file() else "")
        return open_run(start, mesh=experiment.mesh, **handed)

    train_in(epath.Path(folder), training, text, init_from=start, other=other, extend=extend)
    return open_run(folder, **_handed(given | {"data": training.data}, params, text))


def import_run(
    source: epath.PathLike,
    folder: epath.PathLike,
    *,
    name: str | None = None,
    weights: str | None = None,
    data: str | None = None,
) -> Run:
    """Make a run of a foreign model in a folder, and open it, as `fewstep import` does (docs/import.md).

    source: a diffusers folder or a file of weights.  name: which model it is, if its files do not say, such as
    "adm-256".  weights: which of several sets; None: the average.  data: "digits", a folder of images, an .npz or .npy,
    to compare with.  Raises UsageError for what does not open, before anything is written.
    """
    import_model.main(str(source), str(folder), name, weights, data)
    return open_run(folder)


def _handed(given, params, text) -> dict[str, Any]:
    """Those of the parts that a config, given as text, does not name, as `open_run` takes them."""
    parts = {name: given[name] for name in parts_given(text) if name in given}
    return parts | ({"params": params} if params is not None and "network" in parts else {})


class _Unnamed:
    """Stands for a part that no config can name."""


def fit(
    run: Run,
    nfe: int,
    *,
    method: str = "table",
    levers: Levers = (),
    label: Any = None,
    count: int = 200,
    steps: int = 10,
    seed: int = 500_000,
    name: str | None = None,
) -> Sampler:
    """Fit a table of `nfe` network calls to a run and store it there, as `fewstep fit` does (docs/find.md); returns it
    as a sampler for `run.draw` and `compare`.

    method: "table", "amed", "amed_dpm_solver_2" or "amed_ipndm".  levers: texts, such as "cfg(2)", so that the table
    can tell them.  count: trajectories; steps: Gauss-Newton steps of all numbers, or epochs of AMED.  name: by default
    "fit-N", or the method's.  Raises UsageError for what does not fit.
    """
    texts = listed(levers)
    if not all(isinstance(text, str) for text in texts):
        raise UsageError('give the levers of a fit as texts, such as levers="cfg(2)"')
    how = by_name(method, steps)
    name = checked_name(name or f"{prefix(method)}-{nfe}")
    seeds = np.arange(seed, seed + within(count, "count", 8, 100_000))
    found = fit_table(run, nfe, as_levers(texts), texts=texts, label=label, seeds=seeds, how=how)
    return of_file(save(run, name, found), f"{PREFIX}{name}", checked=True)


def compare(
    *subjects: Any,
    nfe: int | Iterable[int] = (1, 2, 4, 8, 16),
    samplers: SamplerLike | Iterable[SamplerLike] | None = None,
    grids: str | Iterable[str] = (),
    levers: Levers = (),
    data: Any = None,
    metrics: str | Iterable[str] = METRICS,
    features: str | Features | Iterable[str | Features] | None = None,
    count: int = COUNT,
    seed: int = 0,
    repeats: int = 1,
    batch: int = BATCH,
    calibrate: bool = False,
    out: epath.PathLike | None = None,
) -> ShownComparison | None:
    """Compare sample quality by network calls: every sampler at every budget, on the same seeds.

    subjects: runs or their folders, denoisers, oracles; also images made elsewhere, as arrays (N, H, W, C), folders or
    .npz files, which are measured likewise.  data: real images for denoisers and for imported runs without data of
    their own, as `train_run` takes them.
    samplers: names of SAMPLERS, `Sampler` entries, or functions (process, grid) -> rows; by default those of
    `fewstep compare`.  grids: names of GRIDS, by default the sampler's.  levers: around the network, innermost first,
    as texts or as they are made, such as "cfg(1.5)" or cfg(1.5).  metrics, features, count, seed, repeats, batch: as of
    `fewstep compare`.  calibrate: measure the variances that a sampler requires if they are missing.  Where several are
    taken, one may be given alone.  out: the folder where sampled images and features are kept, so that they are not
    sampled again (those of NumPy and PyTorch functions are); by default the first run's `compare`, or a temporary one.

    Returns the comparison, which a notebook shows as its page; with several processes the first one has it, and the
    others get None.  Raises UsageError for what does not fit.
    """
    numbers = asked.numbers({"count": count, "seed": seed, "repeats": repeats, "batch": batch})
    budgets, wanted, around = asked.budgets(nfe), asked.metrics(metrics), listed(levers)
    chosen = None if samplers is None else [named(one) for one in asked.some(samplers, "samplers")]
    wrap, at = tuple(as_levers(around)), listed(grids)
    for grid in at:
        lookup("grid", grid, GRIDS)
    elsewhere = [is_images(subject) for subject in subjects]
    images = image_sets(subject for subject, other in zip(subjects, elsewhere, strict=True) if other)
    opened = [_opened(subject, calibrate) for subject, other in zip(subjects, elsewhere, strict=True) if not other]
    if not opened:
        raise UsageError("compare needs a run or a denoiser; for two sets of images call distances")
    with _results(out, opened) as folder:
        runs, wanted = with_data(_with_data(opened, data, folder, calibrate), wanted, metrics is not METRICS)
        if chosen is None:
            chosen = [SAMPLERS[name] for name in compared_samplers(run.denoiser for run in runs)]
        lines = [
            Line(" ".join([sampler.name, *([grid] if grid and len(at) > 1 else [])]), sampler, GRIDS, grid, wrap)
            for sampler in chosen
            for grid in at or [None]
        ]
        kinds = [] if features is None else listed(features)
        kinds = [named_features(kind, runs[0], "features") if isinstance(kind, str) else kind for kind in kinds]
        found = compare_runs(
            runs, lines, budgets, folder=folder, metrics=wanted, features=asked.features_of(kinds), **numbers,
            levers=[lever if isinstance(lever, str) else name_of(lever) for lever in around], images=images,
            command="fewstep.compare(...)", environment=libraries(), commands=_commands(runs, lines, around),
        )  # fmt: skip
    return None if found is None else ShownComparison.of(found)


def _commands(runs, lines, levers):
    """{run: {line: the command that draws it}} where the command line has the sampler, the levers and the network."""
    if not all(isinstance(lever, str) for lever in levers):
        return {}
    ours = [line for line in lines if SAMPLERS.get(line.sampler.name) is line.sampler or is_fitted(line.sampler.name)]
    return {
        name: {line.name: again_line(run, Opening(), line, "N", levers, []) for line in ours}
        for name, run in zip(asked.names_of_runs(runs), runs, strict=True)
        if isinstance(run, Run) and not run.own
    }


def _opened(subject, calibrate):
    """A run in place of its folder; a run or a denoiser as it is."""
    if isinstance(subject, str | PathLike):
        return open_run(subject, calibrate=calibrate)
    if isinstance(subject, Run):
        return replace(subject, calibrates=True) if calibrate and not subject.calibrates else subject
    if not callable(subject) or not hasattr(subject, "capabilities"):
        kind = type(subject).__name__
        raise UsageError(f"compare takes runs, their folders, denoisers and oracles (see as_denoiser): got {kind}")
    return subject


@contextmanager
def _results(out, opened):
    """The folder of the results: `out`, that of the first run, or a temporary one."""
    runs = [one for one in opened if isinstance(one, Run)]
    if out is None and not runs:
        with TemporaryDirectory(prefix="fewstep-") as folder:
            yield epath.Path(folder)
    else:
        yield results(runs[0].folder if out is None else out, "out")


def _with_data(opened, data, folder, calibrate):
    """The runs, with the data if they have none, and the denoisers with the data as subjects."""
    denoisers = [one for one in opened if not isinstance(one, Run)]
    if denoisers and data is None:
        raise UsageError("a denoiser is compared with real images: give them, data=images or data=(images, labels)")
    lacking = [one for one in opened if isinstance(one, Run) and not one.has_data]
    real: Any = usable("data", data)() if data is not None and (denoisers or lacking) else None
    names = iter(numbered(type(den).__name__.lower() for den in denoisers))

    def subject(den):
        name = next(names)
        return Subject(name, den, real, folder / name, calibrates=calibrate, opener=open_run)

    def given(run):
        return replace(run, load_data=lambda: real, has_data=True) if real is not None and not run.has_data else run

    return [given(one) if isinstance(one, Run) else subject(one) for one in opened]
