"""Samplers against budgets of network calls: the same seeds through every table, distances to held-out images."""

import math
import time
from itertools import product
from typing import NamedTuple

import numpy as np

from diffusion import Cond
from evaluation.comparison import Cell, Comparison
from evaluation.distances import DISTANCES, Interval, bootstrap
from evaluation.features import kind, pixels
from samplers import GRIDS, Tableau, draw_many, table_at
from samplers.cost import passes
from samplers.loop import batch_of
from samplers.steps import NoTable
from samplers.tableau import pad
from train.pictures import to_uint8
from train.sharding import batched

SHOWN = 10  # seeds shown side by side
COUNT, BATCH = 500, 250  # images of a cell, and at once
HELD_OUT, NUMBERS = 10_000, 2**28  # of the data images, and numbers in them, at most: more may not fit into memory


class _Entry(NamedTuple):
    place: int  # among all pairs, the blank ones included
    sampler: str
    grid: str
    budget: int
    table: Tableau


def compare(
    runs, samplers, budgets, grids=GRIDS, *, count=COUNT, seed=0, levers=(), batch=BATCH, progress=None, **about
) -> Comparison:
    """Cells for runs (as of `train.run.Run`, on data of one shape) x samplers (registry entries) x budgets.

    Every run compiles the draw loop once, before the clock starts.  A budget for which a sampler has no table is left
    out; where a sampler diverges its distances are NaN.  Of more than HELD_OUT held-out images, or NUMBERS numbers in
    them, so many are used, spread evenly over them.  `levers`: pairs (text, lever), innermost first.
    `progress(done, note)` is told of each cell, blank ones counted; `about` (command, environment) goes in the result.
    Raises ValueError for runs on data of different shapes, and where no sampler has a table at any budget.
    """
    if len({run.shape for run in runs}) > 1:
        raise ValueError("the runs were trained on images of different shapes: compare those on the same data")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    cells, floors, previews = [], {}, {}
    seeds = np.arange(seed, seed + count)
    size = len(samplers) * len(budgets)
    data = [run.data for run in runs]  # loaded before the first draw: what cannot be read is said at once
    for r, (run, name) in enumerate(zip(runs, names, strict=True)):
        den = run.denoiser
        for _, lever in levers:
            den = lever(den)
        entries = _entries(samplers, budgets, grids, den.process)
        seen, others = data[r].train[: min(count, _most(data[r]))], held_out(data[r])
        cond = conditions(seen.label, count)
        floors[name] = _distances(seen.image, others)
        history = max(entry.table.history for entry in entries)

        def drawn(table, den=den, run=run, cond=cond, history=history):
            table = pad(table, table.nfe, history)
            return draw_many(den, table, seeds, run.shape, cond=cond, batch=batch, sharding=batched(run.mesh))

        drawn(min((entry.table for entry in entries), key=lambda table: table.nfe))  # compiles
        for entry in entries:
            begin = time.perf_counter()
            images = drawn(entry.table)
            at_once = batch_of(count, batch, batched(run.mesh))
            spent = 1e3 * (time.perf_counter() - begin) / (-(-count // at_once) * at_once)
            measured = _distances(images, others)
            cost = passes(den, entry.table)
            cells.append(Cell(name, entry.sampler, entry.grid, entry.budget, entry.table.nfe, cost, spent, measured))
            previews[name, entry.sampler, entry.budget] = _shown(images, cond.label)
            if progress:
                progress(r * size + entry.place + 1, f"{entry.sampler} at {entry.budget}")
    return Comparison(
        runs=names, samplers=[sampler.name for sampler in samplers], budgets=list(budgets), cells=cells,
        floors=floors, count=count, seed=seed, levers=tuple(text for text, _ in levers), previews=previews, **about,
    )  # fmt: skip


def conditions(label, count) -> Cond:
    """The labels of `count` images to draw: those of training images (None: no labels), over again where fewer."""
    return Cond(None if label is None else np.resize(label, count).astype(np.int32))


def held_out(data) -> np.ndarray:
    """All held-out images, or as many as HELD_OUT and NUMBERS allow, spread evenly over them."""
    split = data.held_out
    return split[np.linspace(0, len(split) - 1, min(len(split), HELD_OUT, _most(data))).astype(int)].image


def _most(data):
    """Images with NUMBERS numbers, but two, of which a covariance can be told."""
    return max(2, NUMBERS // math.prod(data.shape))


def _entries(samplers, budgets, grids, process):
    """Every (sampler, budget) that has a table."""
    entries, refusal = [], None
    for place, (sampler, budget) in enumerate(product(samplers, budgets)):
        try:
            table = table_at(sampler, process, budget, grids[sampler.grid_for(process)])
        except NoTable as error:
            refusal = error
            continue
        entries.append(_Entry(place, sampler.name, sampler.grid_for(process), budget, table))
    if not entries:
        raise ValueError(f"no sampler has a table at any of these budgets: {refusal}")
    return entries


def _distances(images, held_out):
    """Every distance with its interval, named after the features; NaN where the images are not finite."""
    finite = np.isfinite(images).all()
    nothing = Interval(np.nan, np.nan, np.nan)
    return {
        f"{name}-{kind(images)}": bootstrap(distance, pixels(images), pixels(held_out)) if finite else nothing
        for name, distance in DISTANCES.items()
    }


def _shown(images, label):
    """The first images, one of every class where there are classes; of points all."""
    if images.ndim != 4:
        return images
    first = np.arange(len(images)) if label is None else np.unique(label, return_index=True)[1]
    return to_uint8(np.nan_to_num(images[first[:SHOWN]]))
