"""A run, finished or not: its EMA network, ready to sample."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, get_args

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from fewstep.diffusion.denoiser import Cond, Denoiser, Model
from fewstep.diffusion.levers import enlarged
from fewstep.diffusion.networks.embeddings import Precision
from fewstep.errors import UsageError, lookup
from fewstep.ranges import MOST_IMAGES, within
from fewstep.samplers import Tableau, table_at
from fewstep.samplers.loop import draw_batches, fetched, recorded
from fewstep.samplers.registry import as_grid
from fewstep.samplers.start import as_seeds
from fewstep.train import ema
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.checkpoints.snapshots import rebuilt
from fewstep.train.data.dataset import Dataset
from fewstep.train.data.fingerprint import change, check_record, fingerprint
from fewstep.train.run.calibration import grid_with_statistics, with_statistics
from fewstep.train.run.computation import code
from fewstep.train.run.levers import Levers, as_levers, levered
from fewstep.train.run.tables import check_labels
from fewstep.train.run.tables import sampler as chosen
from fewstep.train.sharding import batch_sharding, gathered, make_mesh, parameter_shardings, replicated
from fewstep.train.utils.errors import CheckpointError, Damaged, RunError
from fewstep.train.utils.files import absolute, write_atomic
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.progress import progress
from fewstep.train.utils.sealed import read_json, sealed_json
from fewstep.train.utils.versions import commit, versions

PRECISIONS = get_args(Precision)


def describe(training: Any, begun: dict | None = None) -> dict[str, Any]:
    """The contents of run.json; `begun` is the record of the run that the initial weights come from."""
    data, shapes = training.data, training.fresh.eval_shape().params["net"]
    known = description(shapes, data.shape, data.classes, data.names, training.experiment.seed)
    used = list((begun or {}).get("trained_features", [])) + training.experiment.objective.trained_features
    if training.pairs:
        used += training.pairs.source.trained_features
    known["trained_features"] = [kind for i, kind in enumerate(used) if kind not in used[:i]]
    return known | {"data": fingerprint(data, training.pairs)} | ({"begun": begun} if begun else {})


def description(params: Any, shape: Iterable[int], classes: int, names: Iterable[str], seed: int) -> dict[str, Any]:
    """The contents of run.json for a network with these parameters, or their shapes, without a record of its data."""
    return {
        "shape": list(shape),
        "classes": classes,
        "names": list(names),
        "parameters": sum(int(np.prod(a.shape)) for a in jax.tree.leaves(params)),
        "seed": seed,
        "data": {},
        "trained_features": [],  # (name, digest) of each kind of features that the objective uses
        "versions": versions(),
        "commit": commit(),
    }


def write_description(folder: epath.PathLike, description: dict[str, Any]) -> None:
    """Write run.json."""
    write_atomic(epath.Path(folder) / "run.json", sealed_json(description, indent=2))


def read_description(folder: epath.PathLike) -> dict[str, Any]:
    """The contents of run.json; raises RunError if the folder is not a run or the file is damaged."""
    path = epath.Path(folder) / "run.json"
    if not path.exists():
        raise RunError(f"{folder} has no run.json: it is not a run, or the same `fewstep train` command restores it")
    try:
        known = dict(read_json(path))
        known["shape"], known["classes"] = tuple(map(int, known["shape"])), int(known["classes"])
        known["names"] = tuple(map(str, known.get("names", ())))
        known["data"] = {part: dict(found) for part, found in dict(known.get("data", {})).items()}
        check_record(known["data"])
        known["trained_features"] = [list(map(str, pair)) for pair in known.get("trained_features", [])]
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{error if isinstance(error, Damaged) else f'{path} is damaged'}: remove it, and run the same `fewstep "
            f"train` command to restore it"
        ) from None
    return known


@dataclass(frozen=True, repr=False)
class Run:
    """A trained network with everything needed to sample from it."""

    folder: epath.Path
    model: Model
    params: Any
    step: int
    shape: tuple
    load_data: Any  # () -> Dataset
    mesh: Mesh  # of the parameters and the drawn images
    calibrates: bool = False  # whether statistics that a sampler requires are measured when they are missing
    opener: Any = None  # (folder, step=...) -> Run, for levers that use another run
    names: tuple[str, ...] = ()  # of the classes, if they have names
    own: bool = False  # whether the network was given in Python, so that its code may change
    has_data: bool = True  # False for an imported run whose data nobody has named
    averaged: Any = None  # (length) -> the parameters averaged to a length (`snapshots.rebuilt`)

    def __repr__(self) -> str:
        form = "x".join(map(str, self.shape))
        classes = f", {self.model.classes} classes" if self.model.classes else ""
        return f"Run({str(self.folder)!r}, step {self.step}, {form}{classes})"

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def data(self) -> Dataset:
        """The training data, loaded on first use; raises RunError if it has changed since."""
        data = self.load_data()
        known = read_description(self.folder)
        if (changed := change(known, data)) and not known["data"]:  # an imported run, of which no data are recorded
            raise RunError(f"{data.name} has {changed}, which the model of {self.folder} has: give data of its kind")
        if changed:
            raise RunError(f"{self.folder}: {data.name} has changed since training ({changed}): restore it")
        return data

    @cached_property
    def weights(self) -> str:
        """A digest of the parameters."""
        return digest(self.params)

    @cached_property
    def code(self) -> dict[str, str] | None:
        """The code of a network that was given in Python, and may change; None for ours."""
        return code(self.denoiser, self.shape) if self.own else None

    @property
    def denoiser(self) -> Denoiser:
        return self.model.denoiser(self.params)

    def labels(self, label: Any, count: int) -> Cond:
        """The labels of `count` images: one class, by number or name, or several in turn; None: all classes in turn, if
        there are any.

        Raises UsageError for a class that the model does not have.
        """
        classes = self.model.classes
        if not classes:
            if label is not None:
                raise UsageError(f"{self.folder} was trained without labels: remove the label")
            return Cond()
        wanted = np.arange(classes) if label is None else np.atleast_1d(label)
        if wanted.dtype.kind == "U":
            wanted = np.array([self._class(str(text)) for text in wanted])
        if wanted.dtype.kind not in "iu" or wanted.size == 0:
            raise UsageError(f"label is a class or several, by number or name: got {label!r}")
        if wanted.min() < 0 or wanted.max() >= classes:
            raise UsageError(
                f"label {wanted.tolist()} is not among the {classes} classes 0 to {classes - 1} of {self.folder}"
            )
        return Cond(np.resize(wanted, count).astype(np.int32))

    def _class(self, text):
        """The number of a class that is given as text: its name, or else its number."""
        if text in self.names:
            return self.names.index(text)
        if re.fullmatch(r"-?\d{1,9}", text):
            return int(text)
        if not self.names:
            raise UsageError(f"label {text!r}: the classes of {self.folder} have no names, but numbers from 0")
        return lookup("class", text, dict.fromkeys(self.names))

    def table(self, sampler: Any, nfe: int, grid: Any = None, levers: Levers = ()) -> Tableau:
        """The table of a sampler with the most steps that fit into `nfe` network calls.

        sampler and grid: names or callables as in SAMPLERS and GRIDS, or "fitted:NAME" for a table of
        `fewstep fit`; levers: those of the table's use, for grids that
        depend on statistics.  Raises UsageError for an unknown name, and if no table fits.
        """
        grid = as_grid(grid)
        grid = grid and grid_with_statistics(self, self.under(levers), grid)
        return table_at(chosen(self, sampler, as_levers(levers)), self.model.process, nfe, grid)

    def draw(
        self,
        sampler: Any,
        nfe: int,
        seeds: Any,
        label: Any = None,
        levers: Levers = (),
        grid: Any = None,
        batch: int = 256,
    ) -> np.ndarray:
        """Images (B, *shape) of the seeds, by `table(sampler, nfe, grid)`; as the sampler ends, so that some values of
        images may lie slightly outside [-1, 1].

        seeds: whole numbers, such as range(64).  levers: innermost first, as texts or as they are made, such as
        "cfg(1.5)" or [cfg(1.5), clip_x0()].  Raises UsageError for what does not fit.
        """
        levers = as_levers(levers)
        sampler = chosen(self, sampler, levers)
        seeds = as_seeds(seeds)
        check_labels(sampler, self.labels(label, len(seeds)).label)
        table = self.table(sampler, nfe, grid, levers)
        return self.follow(table, seeds, label, [*levers, *sampler.levers], batch=batch)

    def follow(
        self, table: Tableau, seeds: Any, label: Any = None, levers: Levers = (), start: Any = None, batch: int = 256
    ) -> np.ndarray:
        """The final states (B, *shape) of a table; `start` (B, *shape) replaces the initial noise.

        With levers that enlarge images, the shape is the enlarged one.
        """
        seeds, batch = as_seeds(seeds), within(batch, "batch", 1, MOST_IMAGES)
        den, cond = with_statistics(self, self.under(levers), table), self.labels(label, len(seeds))
        options: dict[str, Any] = {"batch": batch, "sharding": batch_sharding(self.mesh)}
        parts = draw_batches(den, table, seeds, enlarged(self.shape, den), cond=cond, start=start, **options)
        images, done = [], 0
        with progress(len(seeds), unit="images", note="compiling") as show:
            for part in parts:
                images.append(part)
                done += len(part)
                show(done)
        return np.concatenate(images)

    def predictions(
        self, table: Tableau, seeds: Any, calls: Any, label: Any = None, levers: Levers = (), start: Any = None
    ) -> np.ndarray:
        """The predicted x0 at some calls of a table, which count from 0: (len(calls), B, *shape)."""
        seeds = as_seeds(seeds)
        den, cond = with_statistics(self, self.under(levers), table), self.labels(label, len(seeds))
        return fetched(recorded(den, table, seeds, enlarged(self.shape, den), calls, cond=cond, start=start)[1])

    def under(self, levers: Levers) -> Any:
        """The denoiser with levers or their texts, the first innermost; those that depend on a run get this one."""
        return levered(self, levers)


def restore(
    folder: epath.PathLike,
    experiment: Any,
    load_data: Any,
    step: int | None = None,
    mesh: Any = (-1, 1, 1),
    dtype: str | None = None,
) -> Run:
    """The run in `folder` with the EMA weights of a step (None: the newest), on the devices of `make_mesh(mesh)`.

    dtype: that of the parameters in memory; None: as they are saved.

    Raises RunError if the folder is not a run or has no readable checkpoint.
    """
    if dtype not in (None, *PRECISIONS):
        raise UsageError(f"dtype is {' or '.join(PRECISIONS)}: got {dtype!r}")
    folder = absolute(folder)
    known = read_description(folder)
    shape, classes = known["shape"], known["classes"]
    model, shapes = experiment.abstract(shape, classes)
    mesh = make_mesh(mesh)
    placed = jax.tree.map(gathered, parameter_shardings(shapes, experiment.axes(shape, classes), mesh))
    full = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, placed)
    shapes = jax.tree.map(lambda a: a.update(dtype=dtype or a.dtype), full)
    with Checkpoints(folder / "checkpoints", create=False) as checkpoints:
        step = checkpoints.latest() if step is None else step
        if step is None:
            raise CheckpointError(f"{folder} has no checkpoint yet: run `fewstep train` until it has saved one")
        # The extra parameters of the objective are restored as well, and discarded.
        extra = jax.eval_shape(partial(experiment.extra_params, shape, classes))
        extra = jax.tree.map(lambda a: a.update(sharding=replicated(mesh)), extra)
        averages = ema.names(experiment.ema, experiment.ema_lengths)
        found = checkpoints.restore_ema(step, dict.fromkeys(averages, {"net": shapes} | extra))
    params = found[str(experiment.ema[0])]["net"]
    full = dict.fromkeys(averages, {"net": full} | extra)  # also where the weights are loaded in bfloat16
    averaged = lru_cache(1)(partial(rebuilt, folder, step, full, experiment.ema_lengths))
    return Run(folder, model, params, step, known["shape"], load_data, mesh, names=known["names"], averaged=averaged)
