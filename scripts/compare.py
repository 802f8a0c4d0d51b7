"""fewstep compare."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec

import jax

from evaluation.compare import compare
from evaluation.report import write
from evaluation.report.table import render
from scripts import config, parse
from scripts.errors import UserError, lookup
from train.processes import first
from train.progress import progress


def main(folders, nfe, names, count, seed, levers, out, overrides, trust, step=None, mesh="-1,1,1"):
    """Compare, print the table, write the rest."""
    settings = config.settings(overrides)
    budgets = {parse.within(n, "--nfe", 1, parse.MOST_CALLS) for n in parse.whole_numbers(nfe, "--nfe")}
    names = dict.fromkeys(name.strip() for name in names.split(","))
    samplers = [lookup("sampler", name, settings.samplers) for name in names]
    parse.within(count, "--count", 2, parse.MOST_IMAGES)
    wrap = [parse.lever(text, settings.levers) for text in levers]
    mesh = parse.mesh(mesh)
    _needs_report()
    runs = [config.open_run(parse.path(folder, "the run"), trust, step, mesh) for folder in folders]
    if len({run.folder for run in runs}) < len(runs):
        raise UserError("a run is given twice: name each folder once")
    grids = {sampler.grid_for(run.model.process) for sampler in samplers for run in runs}
    settings.refuse_unused({sampler.name for sampler in samplers} | grids | {name for name, _ in wrap})
    out = parse.writable(out or parse.path(folders[0], "the run") / "compare", "--out")
    about = {"command": shlex.join(["fewstep", *sys.argv[1:]]), "environment": _environment()}
    wrap = [(text, lever) for text, (_, lever) in zip(levers, wrap, strict=True)]
    with progress(len(runs) * len(samplers) * len(budgets), unit="cells") as show:
        result = compare(
            runs, samplers, sorted(budgets), settings.grids, count=count, seed=seed, levers=wrap, progress=show, **about
        )
    if not first():
        return
    for metric in result.metrics:
        print(render(result, metric))
    print("\n".join(str(path) for path in write(out, result).values()), file=sys.stderr)


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
