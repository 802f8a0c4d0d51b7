"""fewstep compare."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import jax

from evaluation.compare import compare
from evaluation.report import write
from evaluation.report.table import render
from samplers import SAMPLERS
from scripts import config, parse
from scripts.errors import UserError, lookup
from train.progress import progress


def main(folders, nfe, names, count, seed, levers, out, overrides):
    """Compare, print the table, write the rest."""
    budgets = sorted({parse.at_least_one(n, "--nfe") for n in parse.whole_numbers(nfe, "--nfe")})
    names = [name.strip() for name in names.split(",")]
    for name in names:
        lookup("sampler", name, SAMPLERS)
    if count < 2:
        raise UserError(
            f"--count {count}: a distance needs at least 2 images, and means something from some hundreds on"
        )
    _needs_report()
    runs = [config.open_run(folder, overrides) for folder in folders]
    wrapped = [config.sampler(name) for name in names]
    about = {"command": shlex.join(["fewstep", *sys.argv[1:]]), "environment": _environment()}
    levers = {text: parse.lever(text) for text in levers}
    with progress(len(runs) * len(names) * len(budgets), unit="cells") as show:
        result = compare(runs, wrapped, budgets, count=count, seed=seed, levers=levers, progress=show, **about)
    for metric in next(iter(result.floors.values())):
        print(render(result, metric))
    written = write(Path(out) if out else Path(folders[0]) / "compare", result)
    print("\n".join(str(path) for path in written.values()), file=sys.stderr)


def _needs_report():
    for name in ("matplotlib", "jinja2"):
        if find_spec(name) is None:
            raise UserError(f"compare writes a plot and a page with {name}: pip install 'fewstep[report]'")


def _environment():
    libraries = {name: version(name) for name in ("fewstep", "jax", "flax", "numpy")}
    device = jax.devices()[0]
    return libraries | {
        "python": platform.python_version(),
        "device": f"{len(jax.devices())} x {device.device_kind}",
        "machine": f"{platform.machine()}, {platform.system()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
