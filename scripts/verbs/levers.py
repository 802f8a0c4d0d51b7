"""fewstep levers."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from rich import box
from rich.table import Table

from fewstep.cli.config import registry
from fewstep.cli.console import console
from fewstep.diffusion import VELOCITY, Denoiser, Linear
from fewstep.diffusion.levers import LEVERS, under
from fewstep.samplers import SAMPLERS, table_at
from fewstep.samplers.cost import passes
from fewstep.train.run import levers as run_levers

CALLS = 10


def main() -> None:
    """Print the registry, in full if the output is not a terminal; passes are counted by running each lever."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("lever", "passes", "what it does"):
        table.add_column(name, no_wrap=name == "passes", justify="right" if name == "passes" else "left")
    for name in run_levers.LEVERS:
        part = registry.CONFIGURABLES[name]
        summary = " ".join((inspect.getdoc(part) or "").split())
        table.add_row(f"{name}({settings(part)})", f"{counted(name):.4g}", summary)
    out = console()
    out.print(table)
    out.print(f"passes: network passes in {CALLS} calls with the lever; 10 without.  Each has a page in docs/levers.")


def settings(part: Callable[..., Any]) -> str:
    """Its parameters, with their defaults."""
    found = inspect.signature(part).parameters.values()
    return ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in found)


def counted(name: str) -> float:
    """Network passes per image in CALLS calls with a lever, set as in EXAMPLES."""
    asks = ("curvature", "averaged_variance")
    table = table_at(SAMPLERS["analytic_ddpm" if name in asks else "ddim"], Linear(), CALLS)
    return passes(under(_NETWORK, EXAMPLES.get(name) or [LEVERS[name]()]), table)


def _network(params, x, t, d, cond, key):
    return x


_NETWORK = Denoiser.from_function(_network, {}, Linear(), VELOCITY, classes=2, levels=2, attends=True)
# For counting: levers that need settings, or another lever inside.
EXAMPLES = {
    "cfg": [LEVERS["cfg"](2.0)],
    "apg": [LEVERS["apg"](2.0)],
    "cfg_pp": [LEVERS["cfg_pp"](0.6)],
    "autoguidance": [LEVERS["autoguidance"](_NETWORK, 2.0)],
    "rescale": [LEVERS["cfg"](2.0), LEVERS["rescale"]()],
    "interval": [LEVERS["cfg"](2.0), LEVERS["interval"](0.5, 2.0)],
    "skip_tuning": [LEVERS["skip_tuning"](0.8)],
    "ema": [partial(run_levers.Averaged, length=0.1)],
}
