"""fewstep samplers."""

from collections.abc import Iterable

import numpy as np
from rich import box
from rich.table import Table

from fewstep.cli.config.settings import settings
from fewstep.cli.console import console
from fewstep.cli.errors import UserError
from fewstep.diffusion import Discrete
from fewstep.diffusion.process import Process
from fewstep.errors import lookup
from fewstep.ranges import MOST_CALLS, within
from fewstep.samplers import SAMPLERS, Tableau, exact, table_at
from fewstep.samplers.registry import Sampler
from fewstep.train.run import tables

WIDTH = 80
NFE = 8  # by default
MEAN, STD = 0.2, 0.5  # of the Gaussian data of a check


def main(overrides: Iterable[str] = ()) -> None:
    """Print the registry, in full if the output is not a terminal."""
    settings(overrides).check_used(())
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("sampler", "calls", "order", "noise", "needs", "grid", "paper"):
        table.add_column(name, no_wrap=name != "paper")
    for name, sampler in SAMPLERS.items():
        needs, noise = ", ".join(sorted(sampler.needs)) or "-", "yes" if sampler.stochastic else "-"
        order = "-" if sampler.order is None else str(sampler.order) + " (weak)" * sampler.stochastic
        table.add_row(name, str(sampler.calls), order, noise, needs, sampler.grid, sampler.paper)
    out = console()
    out.print(table)
    out.print("calls: network calls per step.  grid: the default, unless the process has one of its own.")


def show(
    table: str | None, check: str | None, nfe: int | None, process: str, grid: str | None, overrides: Iterable[str]
) -> None:
    """Print the table of the sampler called `table` and the check of the one called `check`; either may be None."""
    known = settings(overrides, run=False)
    chosen = {name: tables.named(name, known.samplers) for name in (table, check) if name is not None}
    if learned := [name for name, one in chosen.items() if one.levers]:
        raise UserError(f"{learned[0]} has a network that chooses times for each image, and no table: sample a run")
    if nfe is not None:
        within(nfe, "--nfe", 1, MOST_CALLS)
    made = lookup("process", process, known.processes)()
    if grid is not None:
        lookup("grid", grid, known.grids)
        if fitted := [name for name in chosen if tables.is_fitted(name)]:
            raise UserError(f"--grid {grid}: {fitted[0]} has times of its own, leave it out")
    names = {name: grid or sampler.grid_for(made) for name, sampler in chosen.items()}
    known.check_used({process, *names.values()}.union(*(one.names for one in chosen.values())))
    made_of = {
        name: table_at(one, made, nfe or one.nfe or NFE, known.grids.get(names[name])) for name, one in chosen.items()
    }
    for name in chosen:
        print(f"{name} in {made_of[name].nfe} calls, {process}, grid {names[name]}")
        if name == table:
            print(written(made_of[name]))
        if name == check:
            print(checked(chosen[name], made, made_of[name]))


def written(table: Tableau) -> str:
    """A table as text with six digits per number, without columns that have no effect, in blocks of 80 characters."""
    columns = [_column(*named) for named in _columns(table)]
    number = _column("call", np.arange(table.nfe))
    blocks, block = [], [number]
    for column in columns:
        if len("  ".join(c[0] for c in [*block, column])) > WIDTH:
            blocks.append(block)
            block = [number]
        block.append(column)
    lines = ["\n".join("  ".join(cells) for cells in zip(*block, strict=True)) for block in [*blocks, block]]
    start = [] if np.isnan(table.start) else [f"the initial state has standard deviation {table.start:.6g}"]
    return "\n\n".join([*lines, *start])


_IDLE = {"s": np.nan, "path": np.nan, "cap": np.inf, "stretch": 1.0}  # values that have no effect; else 0


def _columns(table):
    """(name, numbers) of the columns that have an effect; `keep` only if stored predictions are used."""
    for name, values in table._asdict().items():
        idle = np.array_equal(values, np.full_like(values, _IDLE.get(name, 0.0)), equal_nan=True)
        if name == "start" or idle or (name == "keep" and not table.past.any()):
            continue
        if values.ndim == 1:
            yield name, values
        else:
            yield from ((f"{name}[{j}]", column) for j, column in enumerate(values.T))


def _column(name, values):
    cells = [name, *("-" if np.isnan(value) else f"{value + 0.0:.6g}" for value in values)]
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def checked(sampler: Sampler, process: Process, table: Tableau) -> str:
    """The exact output of a table on data N(MEAN, STD^2), and the measured order of its sampler."""
    got = exact.moments(table, process, MEAN, STD**2)
    stable, flow = exact.stability(table, process, STD**2), _flow(table, process)
    stochastic = bool(sampler.stochastic or table.noise.any() or table.spread.any())  # few rows may have no noise yet
    # Weak errors are cheap to compute, and their order is reached late: a little noise hides it until many steps.
    measured = ["not measured with an analytic first step"]
    if sampler.order is None:
        one = "a fitted table has one number of calls"
        jumps = "jumps make no error that more steps would reduce"
        measured = [f"none: {one if isinstance(sampler, tables.Fitted) else jumps}"]
    elif np.isnan(table.start):
        counts = (80, 640) if stochastic else (80,)
        orders = [exact.order(sampler, process, sampler.order, steps=k, stochastic=stochastic) for k in counts]
        measured = [f"{order:.2f} at {k} steps" for order, k in zip(orders, counts, strict=True)]
        if np.isinf(orders).all():
            measured = ["none: there is no error on Gaussian data"]
    default = "" if sampler.order is None else f"; by default {sampler.order}" + " (weak)" * stochastic
    kinked = "             (the process is not smooth in t: methods in t lose their order)"
    kinks = [kinked] if isinstance(process, Discrete) else []
    return "\n".join(
        [
            f"  mean       {got.mean[0]:.6g} (data: {MEAN:g})",
            f"  std        {np.sqrt(got.var[0]):.6g} (data: {STD:g})",
            f"  Frechet    {exact.frechet(got, MEAN, STD**2):.6g} (squared distance to the data)",
            f"  order      {', '.join(measured)}{default}",
            *kinks,
            "  stability  largest growth of a perturbation of the state:",
            f"             {stable.row:.4g}-fold over one call, {stable.table:.4g}-fold up to the end;",
            f"             by the exact flow {flow:.4g}-fold up to the end",
        ]
    )


def _flow(table, process):
    """The largest growth of a perturbation by the exact flow, from any of the table's times to the data."""
    return float(np.max(STD / np.hypot(process.alpha(table.t) * STD, process.sigma(table.t))))
