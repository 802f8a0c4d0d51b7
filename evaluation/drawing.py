"""The images of a comparison: which cells there are, and drawing those that are not on disk."""

import time
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fewstep.diffusion import Cond
from fewstep.diffusion.denoiser import INSTANT
from fewstep.diffusion.errors import UsageError
from fewstep.diffusion.levers import enlarged
from fewstep.evaluation import flow, likelihood
from fewstep.evaluation.cells import Cells, Drawn, Extra, environment, source
from fewstep.evaluation.features import quantized
from fewstep.evaluation.flow import held_out, labels_of
from fewstep.evaluation.likelihood import is_bound, vlb
from fewstep.samplers import GRIDS, SAMPLERS, Tableau, default_sampler, supports, table_at
from fewstep.samplers.loop import HISTORY, batch_of, draw_batches, program
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import pad
from fewstep.train.run.calibration import grid_with_statistics, levers_around, with_statistics
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.multihost import barrier, broadcast_from_main, is_main_process
from fewstep.train.utils.progress import progress, say

SOLVER, SOLUTION = "dpmpp_3m", 200  # what trajectories are measured against, and its network calls


class Line(NamedTuple):
    """A way to sample: a line of the tables."""

    name: str
    sampler: Any  # as in SAMPLERS
    grids: Mapping = GRIDS
    grid: str | None = None  # None: the process's or the sampler's
    levers: tuple = ()  # innermost first
    swept: Mapping = {}  # what sets it apart from others, {"cfg.scale": "2"}

    def grid_for(self, process) -> str:
        """The name of its grid."""
        return self.grid or self.sampler.grid_for(process)


class Seeds(NamedTuple):
    """Which images are drawn: `repeats` sets of `count` seeds from `first`, `batch` at once."""

    count: int
    first: int
    repeats: int
    batch: int

    @property
    def sets(self):
        """The seeds of each set."""
        return np.arange(self.first, self.first + self.count * self.repeats).reshape(self.repeats, self.count)


class PlannedCell(NamedTuple):
    """A cell: a table on a denoiser."""

    run: Any
    line: Line
    budget: int
    den: Any
    table: Tableau
    solution: Tableau | None  # what its trajectories are measured against
    extras: tuple  # for each set of seeds, what is told beside: {name: digest of what that depends on}
    cond: Cond  # of a set of seeds
    name: str
    keys: tuple  # one a set of seeds

    @property
    def shape(self) -> tuple:
        """Of an image: larger than those of the data under some levers."""
        return enlarged(self.run.shape, self.den)


def labels_to_draw(den, data, count) -> Cond:
    """The labels of `count` images to draw: those of training images, over again where fewer; none where the model was
    told none."""
    label = data.train[: min(count, len(data.train))].label if den.classes else None
    return Cond(None if label is None else np.resize(label, count).astype(np.int32))


def plan(run, lines, budgets, seeds: Seeds, metrics=()) -> list[PlannedCell]:
    """Every cell of a run that has a table, with what some metrics ask beside the images; UsageError where none has."""
    found, refusal, cond = [], None, labels_to_draw(run.denoiser, run.data, seeds.count)
    dens = {line.name: run.under(line.levers) for line in lines}
    calibrated = {}  # those that know variances too
    for line, budget in product(lines, budgets):
        process = dens[line.name].process
        if not supports(dens[line.name], line.sampler):
            continue
        try:
            grid = grid_with_statistics(run, dens[line.name], line.grids[line.grid_for(process)])
            table = table_at(line.sampler, process, budget, grid)
        except NoTable as error:
            refusal = error
            continue
        noisy = table.noise.any() or table.spread.any()
        traced = "trajectory" in metrics and INSTANT in run.denoiser.capabilities and not noisy
        solution = table_at(SAMPLERS[SOLVER], process, SOLUTION) if traced else None
        if table.spread.any() and line.name not in calibrated:
            calibrated[line.name] = with_statistics(run, dens[line.name], table)
        den = (calibrated if table.spread.any() else dens)[line.name]
        found.append((line, budget, den, _remembering(table), solution and _remembering(solution)))
    if not found:
        if refusal:
            raise UsageError(f"no sampler has a table at any of these budgets: {refusal}")
        names, able = ", ".join(dict.fromkeys(line.sampler.name for line in lines)), default_sampler(run.denoiser)
        raise UsageError(
            f"{run.name} did not learn what {names} asks for: leave that run out, or add the sampler {able}"
        )
    common = digest(environment(), run.denoiser, cond, run.shape, seeds.batch, str(run.mesh.devices.shape))
    planned = []
    for line, budget, den, table, solution in found:
        told = digest(common, levers_around(den))
        keys = tuple(digest(told, table, at) for at in seeds.sets)
        extras = [{"trajectory": digest(told, solution, at)} if solution else {} for at in seeds.sets]
        of_data = len(run.shape) == 3 and enlarged(run.shape, den) == run.shape
        if "bpd" in metrics and of_data and is_bound(den, table):
            code = source(likelihood), source(flow)
            extras = [extra | {"bpd": digest(at, *code)} for extra, at in zip(extras, seeds.sets, strict=True)]
        name = f"{run.name}-{line.name}-{table.nfe}"
        planned.append(PlannedCell(run, line, budget, den, table, solution, tuple(extras), cond, name, keys))
    return planned


def _remembering(table):
    """With a memory, that of most samplers, even where it remembers nothing: they share a compilation."""
    return pad(table, table.nfe, max(table.history, HISTORY))


def draw_missing(planned: list[PlannedCell], seeds: Seeds, cells: Cells) -> dict:
    """Draw what is not among the cells and keep it there; of several processes all draw and the first one keeps.

    {run: the most bytes in use on its first device up to then}, for those of which something was drawn, where a device
    tells.
    """
    total = {(p.name, key): (j, i) for j, p in enumerate(planned) for i, key in enumerate(p.keys)}
    absent = [at for at in total.values() if is_main_process() and not _there(planned[at[0]], at[1], cells)]
    missing = [(planned[j], i) for j, i in broadcast_from_main(absent)]
    if len(missing) < len(total):
        say(f"{len(total) - len(missing)} of {len(total)} cells were drawn before: {cells.folder}")
    calls, done, solutions, memory = sum(p.table.nfe for p, _ in missing) * seeds.count, 0, {}, {}
    fewest = {_program(p): p for p, _ in sorted(missing, key=lambda one: -one[0].table.nfe)}
    with progress(calls, unit="calls") as show:
        for p, i in missing:
            if cheap := fewest.pop(_program(p), None):  # compiles, before any clock starts
                next(_batches(cheap, cheap.table, seeds.sets[0], seeds.batch))
            solution = p.extras[i].get("trajectory")
            if solution and solution not in solutions:
                parts = _batches(p, p.solution, seeds.sets[i], seeds.batch)
                solutions[solution] = np.concatenate(list(parts))
            drawn = _drawn(p, i, seeds, solutions.get(solution))
            if is_main_process():
                before = cells.load(p.name, p.keys[i])
                extra = {**(before.extra if before else {}), **drawn.extra}
                cells.save(p.name, p.keys[i], drawn._replace(extra=extra))
            done += p.table.nfe * seeds.count
            show(done, f"{p.line.name} at {p.budget}")
            used = p.run.mesh.local_devices[0].memory_stats() or {}  # CPUs tell nothing
            memory[p.run.folder] = used.get("peak_bytes_in_use")
    barrier("all cells are drawn")
    return memory


def _there(p, i, cells):
    """Whether a cell has its images, and what is asked for beside."""
    found = cells.load(p.name, p.keys[i])
    return found is not None and {n: found.extra[n].depends_on for n in p.extras[i] if n in found.extra} == p.extras[i]


def _program(p):
    return p.run.folder, program(p.den, p.table)


def _batches(p, table, seeds, batch):
    options = {"cond": p.cond, "batch": batch, "sharding": batch_sharding(p.run.mesh)}
    return draw_batches(p.den, table, seeds, p.shape, **options)


def _drawn(p, i, seeds, solution) -> Drawn:
    images, seconds, begin = [], [], time.perf_counter()
    for part in _batches(p, p.table, seeds.sets[i], seeds.batch):
        images.append(part)
        seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
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
    return Drawn(kept, finite, np.array(seconds), at_once, extra)


def _bits(p, seeds):
    """The bound on the bits per dimension of as many held-out images as there are seeds, or all, as 8-bit images."""
    some = held_out(p.run, len(seeds))
    images = np.float32(quantized(some.image) / 127.5 - 1)
    return vlb(p.den, p.table, images, int(seeds[0]), labels_of(p.run, some)).total
