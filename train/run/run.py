"""A finished or unfinished run: its averaged network, ready to draw."""

import json
import platform
import subprocess
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from fewstep.diffusion.denoiser import Cond, Denoiser, Model
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers import enlarged, under
from fewstep.samplers import GRIDS, SAMPLERS, Tableau, draw, draw_many, table_at
from fewstep.samplers.loop import fetched
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.data.fingerprint import change, fingerprint
from fewstep.train.run.calibration import grid_with_statistics, with_statistics
from fewstep.train.sharding import batch_sharding, gathered, make_mesh, parameter_shardings, replicated
from fewstep.train.utils.errors import CheckpointError, RunError
from fewstep.train.utils.files import absolute, write_atomic
from fewstep.train.utils.hashing import digest

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def describe(training, begun=None) -> dict:
    """run.json: what the run is made of, beside its config; `begun` tells whose weights it begins with."""
    shapes = training.fresh.eval_shape().params["net"]
    return {
        "shape": list(training.data.shape),
        "classes": training.data.classes,
        "parameters": sum(int(np.prod(a.shape)) for a in jax.tree.leaves(shapes)),
        "seed": training.experiment.seed,
        "data": fingerprint(training.data, training.pairs),
        "versions": {"fewstep": version("fewstep"), "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "commit": _commit(),
    } | ({"begun": begun} if begun else {})


def _commit():
    """The git commit of the code, or None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write_description(folder, description):
    """Write run.json."""
    write_atomic(epath.Path(folder) / "run.json", json.dumps(description, indent=2) + "\n")


def read_description(folder) -> dict:
    """run.json; RunError where the folder is no run, or the file not what `train` wrote."""
    path = epath.Path(folder) / "run.json"
    if not path.exists():
        raise RunError(f"{folder} has no run.json: the same `fewstep train` command writes it again")
    try:
        known = json.loads(path.read_text())
        known["shape"], known["classes"] = tuple(map(int, known["shape"])), int(known["classes"])
        known["data"] = {part: dict(found) for part, found in dict(known.get("data", {})).items()}
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{path} is damaged ({error!r}): remove it, and the same `fewstep train` writes it again"
        ) from None
    return known


@dataclass(frozen=True)
class Run:
    """A trained network with what is needed to draw from it."""

    folder: epath.Path
    model: Model
    params: Any
    step: int
    shape: tuple
    load_data: Any  # () -> Dataset
    mesh: Mesh  # where the parameters lie, and images are drawn
    calibrates: bool = False  # measures the statistics that a sampler needs and that are not there
    opener: Any = None  # (folder, step=...) -> Run, for levers that take another run

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def data(self):
        """The data set it was trained on, loaded when first asked for; RunError where it is another one by now."""
        data = self.load_data()
        if changed := change(read_description(self.folder), data):
            raise RunError(f"{self.folder}: {data.name} has changed since it was trained on ({changed}): put it back")
        return data

    @cached_property
    def weights(self) -> str:
        """A digest of the parameters."""
        return digest(self.params)

    @property
    def denoiser(self) -> Denoiser:
        return self.model.denoiser(self.params)

    def labels(self, label, count) -> Cond:
        """One class, or several in turn, for `count` images; None: every class in turn where there are classes.

        Raises UsageError for a class that the model does not have.
        """
        classes = self.model.classes
        if not classes:
            if label is not None:
                raise UsageError(f"{self.folder} was trained without labels: leave the label out")
            return Cond()
        wanted = np.arange(classes) if label is None else np.atleast_1d(label)
        if wanted.dtype.kind not in "iu" or wanted.size == 0:
            raise UsageError(f"a label is a whole number, or several: got {label!r}")
        if wanted.min() < 0 or wanted.max() >= classes:
            raise UsageError(
                f"label {wanted.tolist()} is not among the {classes} classes 0 to {classes - 1} of {self.folder}"
            )
        return Cond(np.resize(wanted, count).astype(np.int32))

    def table(self, sampler, nfe, grid=None, levers=()) -> Tableau:
        """The sampler's table with the most steps that fit into `nfe` network calls.

        sampler and grid: names or callables as in SAMPLERS and GRIDS; levers: those it is for, where the grid is laid
        out by statistics.
        """
        sampler = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
        grid = GRIDS[grid] if isinstance(grid, str) else grid
        grid = grid and grid_with_statistics(self, self.under(levers), grid)
        return table_at(sampler, self.model.process, nfe, grid)

    def draw(self, sampler, nfe, seeds, label=None, levers=(), grid=None, batch=256) -> np.ndarray:
        """Images (B, *shape) in [-1, 1] of the seeds, by `table(sampler, nfe, grid)`.

        levers: applied in the given order, innermost first, such as (cfg(1.5),).
        """
        return self.follow(self.table(sampler, nfe, grid, levers), seeds, label, levers, batch=batch)

    def follow(self, table, seeds, label=None, levers=(), start=None, batch=256) -> np.ndarray:
        """The states (B, *shape) at the end of a table; `start` (B, *shape) replaces the initial noise.

        Under levers that enlarge images, shape is theirs: `enlarged`.
        """
        den, cond = with_statistics(self, self.under(levers), table), self.labels(label, len(seeds))
        options = {"batch": batch, "sharding": batch_sharding(self.mesh)}
        return draw_many(den, table, seeds, enlarged(self.shape, den), cond=cond, start=start, **options)

    def predictions(self, table, seeds, label=None, levers=(), start=None) -> np.ndarray:
        """The clean images predicted at the calls of a table, (N, B, *shape)."""
        den, cond = with_statistics(self, self.under(levers), table), self.labels(label, len(seeds))
        shape = enlarged(self.shape, den)
        return fetched(draw(den, table, seeds, shape, cond=cond, start=start, trajectory=True)[1].x0)

    def under(self, levers):
        """The denoiser under levers, the first innermost; those that are made for a run, by of(run), for this one."""
        return under(self.denoiser, [lever.of(self) if hasattr(lever, "of") else lever for lever in levers])


def restore(folder, experiment, load_data, step: int | None = None, mesh=(-1, 1, 1)) -> Run:
    """The run in `folder` with the averaged parameters of a step (None: the newest), on devices as of `make_mesh`.

    Raises RunError where there is no run, or no checkpoint that can be read.
    """
    folder = absolute(folder)
    known = read_description(folder)
    told = known["shape"], known["classes"]
    model, shapes = experiment.abstract(*told)
    mesh = make_mesh(mesh)
    placed = jax.tree.map(gathered, parameter_shardings(shapes, experiment.axes(*told), mesh))
    shapes = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, placed)
    with Checkpoints(folder / "checkpoints", create=False) as checkpoints:
        step = checkpoints.latest() if step is None else step
        if step is None:
            raise CheckpointError(f"{folder} has no checkpoint yet: run `fewstep train` until it has saved one")
        # Read as well, and let go: what the objective trained beside the network.
        extra = jax.eval_shape(experiment.objective.extra_params)
        extra = jax.tree.map(lambda a: a.update(sharding=replicated(mesh)), extra)
        like = {str(decay): {"net": shapes} | extra for decay in experiment.ema}
        ema = checkpoints.restore_ema(step, like)
    params = ema[str(experiment.ema[0])]["net"]
    return Run(folder, model, params, step, known["shape"], load_data, mesh)
