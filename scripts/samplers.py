"""fewstep samplers."""

import sys

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from samplers import SAMPLERS, exact, table_at
from scripts import config, parse, parts
from scripts.errors import lookup

WIDTH = 80
MEAN, STD = 0.2, 0.5  # of the Gaussian data of a check


def main(table=None, check=None, nfe=8, process="Linear", grid=None, overrides=()):
    """Print the registry, or the table and the check of a sampler."""
    settings = config.settings(overrides)
    parse.within(nfe, "--nfe", 1, parse.MOST_CALLS)
    law = lookup("process", process, parts.PROCESSES)()
    if grid is not None:
        lookup("grid", grid, settings.grids)
    wanted = [(name, show) for name, show in ((table, _rows), (check, _check)) if name is not None]
    chosen = [(lookup("sampler", name, settings.samplers), show) for name, show in wanted]
    grids = [grid or sampler.grid_for(law) for sampler, _ in chosen]
    settings.refuse_unused({*(name for name, _ in wanted), *grids})
    for (sampler, show), grid in zip(chosen, grids, strict=True):
        made = table_at(sampler, law, nfe, settings.grids[grid])
        print(f"{sampler.name} on {process}, grid {grid}, {made.nfe} network calls\n")
        show(sampler, law, made, settings.grids[grid])
    if not chosen:
        _list()


def _list():
    """The registry; in full where the output is no terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("sampler", "calls", "order", "noise", "needs", "grid", "paper"):
        table.add_column(name, no_wrap=name != "paper")
    for name, sampler in SAMPLERS.items():
        needs, noise = ", ".join(sorted(sampler.needs)) or "-", "yes" if sampler.stochastic else "-"
        order = f"{sampler.order} (weak)" if sampler.stochastic else str(sampler.order)
        table.add_row(name, str(sampler.calls), order, noise, needs, sampler.grid, sampler.paper)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("calls: network calls a step.  grid: where the process has none of its own.")


def _rows(sampler, process, table, grid):
    """The table as text, several blocks of columns where they do not fit beside each other."""
    index = [f"{i}" for i in range(table.nfe)]
    blocks = [[_column("row", index), _column("t", _written(table.t))]]
    for name, values in _columns(table):
        column = _column(name, _written(values))
        if sum(len(c[0]) + 2 for c in [*blocks[-1], column]) > WIDTH:
            blocks.append(blocks[0][:2])
        blocks[-1] = [*blocks[-1], column]
    for block in blocks:
        print("\n".join("  ".join(line) for line in zip(*block, strict=True)), end="\n\n")
    print("x <- x X + x0 X0 + eps E + sum_j past_j M_j + noise Z")
    print("M <- (keep_x0 X0 + keep_eps E, M_0, ...)" if table.history else "Nothing is remembered.")
    print("with X0 and E the clean image and noise predicted at (X, t), Z fresh noise.")
    if not np.isnan(table.start):
        print(f"The state begins with the standard deviation {table.start:.6g}.")
    print("Left out are columns of defaults: 0; for keep 1 and 0, stretch 1, cap inf.")


def _columns(table):
    """(name, values) of what is not a row's default; paths where there is noise."""
    past = {f"past_{j}": table.past[:, j] for j in range(table.history)}
    keep = {"keep_x0": table.keep[:, 0], "keep_eps": table.keep[:, 1]} if table.history else {}
    known = {"s": table.s, "x": table.x, "x0": table.x0, "eps": table.eps} | past
    known |= {name: getattr(table, name) for name in ("noise", "spread", "cap", "stretch")} | keep
    if table.noise.any() or table.spread.any():
        known |= {"path_from": table.path[:, 0], "path_to": table.path[:, 1]}
    usual = {"cap": np.inf, "stretch": 1.0, "keep_x0": 1.0, "s": np.nan, "path_from": np.nan, "path_to": np.nan}
    for name, values in known.items():
        if not np.array_equal(values, np.full_like(values, usual.get(name, 0.0)), equal_nan=True):
            yield name, values


def _written(values):
    return ["-" if np.isnan(v) else f"{v + 0.0:.6g}" for v in values]


def _column(name, values):
    """The lines of a column, all of one width."""
    width = max(map(len, [name, *values]))
    return [line.rjust(width) for line in (name, *values)]


def _check(sampler, process, table, grid):
    """Exact moments, order and stability, all computed without a network."""
    got = exact.moments(table, process, MEAN, STD**2)
    distance = exact.frechet(got, MEAN, STD**2)
    noisy = bool(table.noise.any() or table.spread.any())
    steps = 640 if noisy else 80  # weak errors are cheap, and settle later
    order = exact.order(sampler, process, sampler.order, steps=steps, stochastic=noisy)
    end = grid(process, table.nfe)[-1]
    grown = exact.stability(table, process, end, STD**2)
    print(f"On data N({MEAN}, {STD}^2), from pure noise:\n")
    print(f"{'':20}{'got':>12}{'exact':>12}")
    print(f"{'mean':20}{got.mean[0]:12.6g}{MEAN:12.6g}")
    print(f"{'std':20}{np.sqrt(got.var[0]):12.6g}{STD:12.6g}")
    print(f"{'Frechet distance':20}{distance:12.6g}{0:12}\n")
    kind = "weak order" if noisy else "order"
    print(f"{kind:20}{order:12.2f}{sampler.order:12}  claimed ({steps}, {2 * steps} steps)")
    print(f"{'stability':20}{grown:12.6g}{1:12}  the exact flow")
    print("\nStability is the largest growth of a perturbation of the state from one row to")
    print("any later one, in units of the data's own spread at either time.")
