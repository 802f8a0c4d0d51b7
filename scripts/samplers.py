"""fewstep samplers."""

from rich import box
from rich.console import Console
from rich.table import Table

from samplers import SAMPLERS


def main():
    """Print the registry."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("sampler", "calls/step", "order", "noise", "needs", "grid", "paper"):
        table.add_column(name, no_wrap=name == "sampler")
    for name, sampler in SAMPLERS.items():
        needs, noise = ", ".join(sorted(sampler.needs)) or "-", "yes" if sampler.stochastic else "-"
        order = f"{sampler.order} (weak)" if sampler.stochastic else str(sampler.order)
        table.add_row(name, str(sampler.calls), order, noise, needs, sampler.grid, sampler.paper)
    Console().print(table)
