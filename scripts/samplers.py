"""fewstep samplers."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from samplers import SAMPLERS


def main():
    """Print the registry; in full where the output is no terminal."""
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
