"""fewstep compare."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

import jax

from fewstep.cli import config, parse
from fewstep.cli.errors import UserError, lookup
from fewstep.cli.features import named as named_features
from fewstep.cli.lines import Lines, lines
from fewstep.diffusion.denoiser import INSTANT
from fewstep.evaluation.compare import compare
from fewstep.evaluation.metrics import TRAITS
from fewstep.evaluation.report import write
from fewstep.evaluation.report.table import render
from fewstep.samplers.registry import USUAL, usual
from fewstep.train.processes import first, meet
from fewstep.train.progress import say

SAMPLERS = "ddim,heun,dpmpp_2m,ddpm,euler_maruyama"  # of models that tell the velocity


class Chosen(NamedTuple):
    """What is drawn, as it was typed."""

    nfe: str
    samplers: str | None
    grids: str | None
    levers: list[str]
    sweeps: list[str]
    overrides: list[str]

    def budgets(self) -> list[int]:
        """In order, each once."""
        numbers = parse.whole_numbers(self.nfe, "--nfe")
        return sorted({parse.within(n, "--nfe", 1, parse.MOST_CALLS) for n in numbers})

    def lines(self, run=True) -> Lines:
        """What to compare, of runs or of processes."""
        names, grids = (
            parse.words(SAMPLERS if self.samplers is None else self.samplers, "--sampler"),
            parse.words(self.grids, "--grid"),
        )
        return lines(names, grids, self.levers, self.sweeps, self.overrides, run)


class Measured(NamedTuple):
    """What is measured, as it was typed."""

    metrics: str
    features: str | None
    count: int
    seed: int
    repeats: int
    batch: int


def main(folders, chosen, measured, gaussian, calibrate, trust, step, mesh, out, as_json):
    """Compare, print the tables, write the rest."""
    if gaussian is not None:
        raise UserError("--gaussian is the data of an exact comparison: add --exact")
    if not folders:
        raise UserError("compare needs the folder of a run, or --exact")
    budgets, metrics = chosen.budgets(), parse.words(measured.metrics, "--metric")
    for metric in metrics:
        lookup("metric", metric, TRAITS)
    parse.within(measured.count, "--count", 2, parse.MOST_IMAGES)
    parse.within(measured.repeats, "--repeats", 1, 100)
    parse.within(measured.batch, "--batch", 1, parse.MOST_IMAGES)
    asked, mesh = chosen.lines(), parse.mesh(mesh)  # what is wrong with names is said before a run is opened
    needs_report()
    runs = [config.open_run(parse.path(folder, "the run"), trust, step, mesh, calibrate) for folder in folders]
    if chosen.samplers is None:
        asked = chosen._replace(samplers=_usual(runs)).lines()
    if len({run.folder for run in runs}) < len(runs):
        raise UserError("a run is given twice: name each folder once")
    wanted = asked.on([run.model.process for run in runs])
    features = [named_features(text, runs[0]) for text in parse.words(measured.features, "--features")]
    out = parse.writable(out or runs[0].folder / "compare", "--out")
    try:
        result = compare(
            runs, wanted, budgets, folder=out, metrics=metrics, features=features, count=measured.count,
            seed=measured.seed, repeats=measured.repeats, batch=measured.batch, levers=tuple(chosen.levers), **about(),
        )  # fmt: skip
    except KeyboardInterrupt:
        say(f"stopped: what was drawn is in {out}, and the same command goes on from there")
        raise
    if first():
        show(result, out, as_json)
    meet("the comparison is written")  # a process that leaves early is taken for lost


def _usual(runs):
    """The names of the samplers for runs that learned this and that."""
    jumping = [name for name in (usual(run.denoiser) for run in runs) if name != USUAL[INSTANT]]
    instants = [SAMPLERS] if any(INSTANT in run.denoiser.answers for run in runs) else []
    return ",".join([*instants, *dict.fromkeys(jumping)])


def show(result, out, as_json):
    """Print the tables, or JSON, and write the files where there is a folder for them."""
    print(result.to_json() if as_json else render(result), end="")
    if out is not None:
        print("\n".join(str(path) for path in write(out, result).values()), file=sys.stderr)


def needs_report():
    """UserError where the libraries of plots and pages are not installed."""
    for name in ("matplotlib", "jinja2"):
        if find_spec(name) is None:
            raise UserError(f"compare writes a plot and a page with {name}: pip install 'fewstep[report]'")


def about():
    """The command and where it runs."""
    libraries = {name: version(name) for name in ("fewstep", "jax", "flax", "numpy")}
    device = jax.devices()[0]
    return {
        "command": shlex.join(["fewstep", *sys.argv[1:]]),
        "environment": libraries
        | {
            "python": platform.python_version(),
            "device": f"{len(jax.devices())} x {device.device_kind}",
            "machine": f"{platform.machine()}, {platform.system()}",
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        },
    }
