"""The images of a comparison: planning its cells, and drawing those that are not on disk."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple
from uuid import uuid4

import jax
import numpy as np

from fewstep.diffusion import Cond
from fewstep.diffusion.denoiser import INSTANT
from fewstep.diffusion.levers import enlarged
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.evaluation import flow, likelihood
from fewstep.evaluation.cells import Cells, Drawn, Extra, environment, source
from fewstep.evaluation.features import quantized
from fewstep.evaluation.flow import held_out, labels_of
from fewstep.evaluation.likelihood import is_bound, vlb
from fewstep.evaluation.outside import root_mean_square
from fewstep.samplers import GRIDS, SAMPLERS, Tableau, default_sampler, supports, table_at
from fewstep.samplers.loop import batch_of, draw_batches, program, remembering
from fewstep.samplers.steps import NoTable
from fewstep.train.data.dataset import Dataset
from fewstep.train.run.calibration import grid_with_statistics, levers_around, with_statistics
from fewstep.train.run.computation import computation
from fewstep.train.run.tables import sampler
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import barrier, broadcast_from_main, is_main_process
from fewstep.train.utils.progress import progress

SOLVER, SOLUTION = "dpmpp_3m", 200  # the reference solver of trajectories, and its network calls


class Line(NamedTuple):
    """A line of the tables: a sampler with its grid, levers and settings."""

    name: str
    sampler: Any  # as in SAMPLERS
    grids: Mapping = GRIDS
    grid: str | None = None  # None: that of the process or the sampler
    levers: tuple = ()  # innermost first
    swept: Mapping = {}  # the swept settings, {"cfg.scale": "2"}

    def grid_for(self, process: Process) -> str:
        """The name of the grid for a process."""
        return self.grid or self.sampler.grid_for(process)


@dataclass(frozen=True)
class Seeds:
    """The seeds to draw: `repeats` sets of `count` seeds from `first`, in batches of `batch`."""

    count: int
    first: int
    repeats: int
    batch: int

    @property
    def sets(self) -> np.ndarray:
        """The seeds of each set, (repeats, count)."""
        return np.arange(self.first, self.first + self.count * self.repeats).reshape(self.repeats, self.count)


class PlannedCell(NamedTuple):
    """A cell to draw: a table applied to a denoiser."""

    run: Any
    line: Line
    budget: int
    den: Any
    table: Tableau
    solution: Tableau | None  # the reference solution of its trajectories
    solved: Any  # the denoiser of the solution, without what only the sampler's own rows are for
    extras: tuple  # per set of seeds, the extra values to compute: {name: digest of what they depend on}
    conds: tuple[Cond, ...]  # one per set of seeds
    name: str
    keys: tuple  # one per set of seeds

    @property
    def cond(self) -> Cond:
        """Of the first set of seeds."""
        return self.conds[0]

    @property
    def shape(self) -> tuple:
        """The shape of one image, which some levers enlarge."""
        return enlarged(self.run.shape, self.den)


def labels_to_draw(den: Any, data: Dataset, count: int) -> Cond:
    """The labels of `count` images to draw: those of training images, repeated if there are fewer; none for an
    unconditional model."""
    label = data.train[: min(count, len(data.train))].label if den.classes else None
    return Cond(None if label is None else np.resize(label, count).astype(np.int32))


def plan(
    run: Any, lines: Sequence[Line], budgets: Sequence[int], seeds: Seeds, metrics: Sequence[str] = (),
    conds: Sequence[Cond] | None = None,
) -> list[PlannedCell]:  # fmt: skip
    """The cells of a run (`train.run.Run`) that have a table, with the extra values that the metrics need.

    conds: the labels of each set of seeds; by default those of `labels_to_draw`, in every set.
    Raises UsageError if no cell has a table.
    """
    found, refusal = [], None
    conds = conds or [labels_to_draw(run.denoiser, run.data, seeds.count)] * seeds.repeats
    plainly = {line.name: run.under(line.levers) for line in lines}
    dens = dict(plainly)
    calibrated, resolved = {}, {}  # the denoisers with statistics; the samplers, of which fitted tables are the run's
    for line, budget in product(lines, budgets):
        process = dens[line.name].process
        if not supports(dens[line.name], line.sampler):
            continue
        try:
            grid = line.grids.get(line.grid_for(process))
            grid = grid and grid_with_statistics(run, dens[line.name], grid)
            if line.name not in resolved:
                resolved[line.name] = sampler(run, line.sampler, line.levers)
                for lever in resolved[line.name].levers:
                    dens[line.name] = lever(dens[line.name])
            table = table_at(resolved[line.name], process, budget, grid)
        except NoTable as error:
            refusal = error
            continue
        noisy = table.noise.any() or table.spread.any()
        traced = "trajectory" in metrics and INSTANT in run.denoiser.capabilities and not noisy
        solution = table_at(SAMPLERS[SOLVER], process, SOLUTION) if traced else None
        if table.spread.any() and line.name not in calibrated:
            calibrated[line.name] = with_statistics(run, dens[line.name], table)
        den = (calibrated if table.spread.any() else dens)[line.name]
        found.append((line, budget, den, remembering(table), solution and remembering(solution), plainly[line.name]))
    if not found:
        if refusal:
            raise UsageError(f"no sampler has a table at any of these budgets: {refusal}")
        names, able = ", ".join(dict.fromkeys(line.sampler.name for line in lines)), default_sampler(run.denoiser)
        raise UsageError(f"{run.name} does not support {names}: leave that run out, or add the sampler {able}")
    place = run.shape, seeds.batch, str(run.mesh.devices.shape)
    by_id = {id(cond): digest(environment(), run.denoiser, cond, *place) for cond in conds}
    commons = [by_id[id(cond)] for cond in conds]
    planned, unknown = [], uuid4().hex
    both = [one for _, _, den, *_, plain in found for one in (den, plain)]
    computed = {jax.tree.structure(den): den for den in both}  # as few programs as there are
    computed = {at: computation(den, enlarged(run.shape, den), unknown) for at, den in computed.items()}

    def shared(den: Any) -> list[str]:
        """A digest of the denoiser for each set of seeds."""
        program_of = computed[jax.tree.structure(den)]
        return [digest(common, levers_around(den), program_of) for common in commons]

    for line, budget, den, table, solution, plain in found:
        keys = tuple(digest(of, table, at) for of, at in zip(shared(den), seeds.sets, strict=True))
        extras = [
            {"trajectory": digest(of, solution, at)} if solution else {}
            for of, at in zip(shared(plain), seeds.sets, strict=True)
        ]
        of_data = len(run.shape) == 3 and enlarged(run.shape, den) == run.shape
        if "bpd" in metrics and of_data and is_bound(den, table):
            code = source(likelihood), source(flow)
            extras = [extra | {"bpd": digest(at, *code)} for extra, at in zip(extras, seeds.sets, strict=True)]
        name = f"{run.name}-{line.name}-{table.nfe}"
        planned.append(
            PlannedCell(run, line, budget, den, table, solution, plain, tuple(extras), tuple(conds), name, keys)
        )
    return planned


def draw_missing(planned: list[PlannedCell], seeds: Seeds, cells: Cells) -> dict:
    """Draw the missing cells and store them; all processes draw, and the main process stores.

    Returns {id of a run: peak bytes in use on its first device} for the runs of drawn cells; None if unknown.
    """
    total = {(p.name, key): (j, i) for j, p in enumerate(planned) for i, key in enumerate(p.keys)}
    absent = [at for at in total.values() if is_main_process() and not _there(planned[at[0]], at[1], cells)]
    missing = [(planned[j], i) for j, i in broadcast_from_main(absent)]
    if len(missing) < len(total):
        say(f"{len(total) - len(missing)} of {len(total)} cells were drawn before and are in {cells.folder}")
    calls, done, solutions, memory = sum(p.table.nfe for p, _ in missing) * seeds.count, 0, {}, {}
    fewest = {_program(p): p for p, _ in sorted(missing, key=lambda one: -one[0].table.nfe)}
    with progress(calls, unit="calls") as show:
        for p, i in missing:
            if cheap := fewest.pop(_program(p), None):  # compile before timing
                next(_batches(cheap, cheap.table, seeds, 0))
            solution = p.extras[i].get("trajectory")
            if solution and solution not in solutions:
                parts = _batches(p._replace(den=p.solved), p.solution, seeds, i)
                solutions[solution] = np.concatenate(list(parts))
            drawn = _drawn(p, i, seeds, solutions.get(solution))
            if is_main_process():
                before = cells.load(p.name, p.keys[i])
                extra = {**(before.extra if before else {}), **drawn.extra}
                cells.save(p.name, p.keys[i], drawn._replace(extra=extra))
            done += p.table.nfe * seeds.count
            show(done, f"{p.line.name} at {p.budget}")
            used = p.run.mesh.local_devices[0].memory_stats() or {}  # empty on CPU
            memory[id(p.run)] = used.get("peak_bytes_in_use")
    barrier("all cells are drawn")
    return memory


def _there(p, i, cells):
    """Whether a cell is stored with its images and all extra values."""
    found = cells.load(p.name, p.keys[i])
    return found is not None and {n: found.extra[n].depends_on for n in p.extras[i] if n in found.extra} == p.extras[i]


def _program(p):
    return p.run.folder, program(p.den, p.table)


def _batches(p, table, seeds, i):
    """The images of one set of seeds, in batches."""
    options = {"cond": p.conds[i], "batch": seeds.batch, "sharding": batch_sharding(p.run.mesh)}
    return draw_batches(p.den, table, seeds.sets[i], p.shape, **options)


def _drawn(p, i, seeds, solution) -> Drawn:
    images, seconds, start = [], [], time.perf_counter()
    for part in _batches(p, p.table, seeds, i):
        images.append(part)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    images = np.concatenate(images)
    finite = bool(np.isfinite(images).all())
    values = {}
    if solution is not None:
        values["trajectory"] = ((images - solution) ** 2).reshape(len(images), -1).mean(1)
    if "bpd" in p.extras[i]:
        values["bpd"] = _bits(p, seeds.sets[i])
    at_once = batch_of(seeds.count, seeds.batch, batch_sharding(p.run.mesh))
    kept = quantized(images if finite else np.where(np.isfinite(images), images, 0))
    extra = {name: Extra(p.extras[i][name], value) for name, value in values.items()}
    return Drawn(kept, finite, np.array(seconds), at_once, root_mean_square(images), extra)


def _bits(p, seeds):
    """The bound in bits per dimension of 8-bit held-out images, as many as there are seeds, or all."""
    batch = held_out(p.run, len(seeds))
    images = np.asarray(quantized(batch.image) / 127.5 - 1, np.float32)
    return vlb(p.den, p.table, images, int(seeds[0]), labels_of(p.run, batch)).total
