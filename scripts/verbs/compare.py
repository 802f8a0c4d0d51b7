"""fewstep compare."""

import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec

import jax
from etils import epath

from fewstep.cli import batches, parse
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening
from fewstep.cli.verbs.features import named as named_features
from fewstep.cli.verbs.sampling import again_line, implied, opened
from fewstep.cli.verbs.sweep import Asked
from fewstep.evaluation.asked import LIMITS, metrics, names_of_runs, numbers
from fewstep.evaluation.compare import compare
from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.data import with_data
from fewstep.evaluation.images import image_sets, is_images
from fewstep.evaluation.metrics import METRICS
from fewstep.evaluation.report import write
from fewstep.evaluation.report.table import render
from fewstep.samplers.registry import compared_samplers
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import barrier


@dataclass(frozen=True)
class Measuring:
    """What to measure, as given on the command line."""

    metrics: str
    features: str | None
    count: int
    seed: int
    repeats: int
    batch: str


def main(
    folders: list[str], asked: Asked, measuring: Measuring, gaussian: str | None, calibrate: bool, opening: Opening,
    out: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare, print the tables, write the files."""
    if gaussian is not None:
        raise UserError("--gaussian is for exact comparisons: add --exact")
    if not folders:
        raise UserError("compare needs the folder of a run, or --exact")
    budgets, wanted_metrics = asked.budgets(), metrics(parse.words(measuring.metrics, "--metric"))
    size = batches.parsed(measuring.batch)
    given = {name: getattr(measuring, name) for name in LIMITS if name != "batch"}
    counts = numbers(given, "--")
    parse.mesh(opening.mesh)
    lines = asked.lines()  # wrong names are reported before a run is opened
    needs_report()
    sets = [folder for folder in folders if is_images(folder)]
    images = image_sets(sets)
    if len(sets) == len(folders):
        raise UserError("compare needs a run: for two sets of images, drawn and real, add --images")
    runs = [opened(folder, opening, calibrate) for folder in folders if folder not in sets]
    runs, wanted_metrics = with_data(runs, wanted_metrics, measuring.metrics != ",".join(METRICS))
    if asked.samplers is None:
        lines = asked._replace(samplers=",".join(compared_samplers(run.denoiser for run in runs))).lines()
    wanted = lines.on([run.model.process for run in runs])
    features = [named_features(text, runs[0]) for text in parse.words(measuring.features, "--features")]
    commands = {
        name: {line.name: again_line(run, opening, line, "N", asked.levers, asked.overrides) for line in wanted}
        for name, run in zip(names_of_runs(runs), runs, strict=True)
    }
    counts["batch"] = batches.chosen(size, runs, measuring.count)
    results = parse.results(out or runs[0].folder, "--out")
    try:
        result = compare(
            runs, wanted, budgets, folder=results, metrics=wanted_metrics, features=features, **counts,
            levers=(*implied(asked.overrides), *asked.levers), images=images, commands=commands, **about(),
        )  # fmt: skip
    except KeyboardInterrupt:
        say(f"stopped: the images sampled so far are in {results}, and the same command resumes from there")
        raise
    if result is not None:  # on the main process alone
        show(result, results, as_json)
    barrier("the comparison is written")  # a process that ends early would count as lost


def show(result: Comparison, out: epath.Path | None, as_json: bool) -> None:
    """Print the tables or JSON, and write the files if there is a folder for them."""
    print(result.to_json() if as_json else render(result), end="")
    if out is not None:
        print("\n".join(str(path) for path in write(out, result).values()), file=sys.stderr)


def needs_report() -> None:
    """UserError if the libraries for plots and pages are not installed."""
    for name in ("matplotlib", "jinja2"):
        if find_spec(name) is None:
            raise UserError(f"compare writes a plot and a page with {name}: pip install 'fewstep[report]'")


def about() -> dict:
    """The command and where it runs."""
    return {"command": shlex.join(["fewstep", *sys.argv[1:]]), "environment": libraries()}


def libraries() -> dict[str, str]:
    """The versions of libraries, the devices, the machine and the time."""
    device = jax.devices()[0]
    return {name: version(name) for name in ("fewstep", "jax", "flax", "numpy")} | {
        "python": platform.python_version(),
        "device": f"{len(jax.devices())} x {device.device_kind}",
        "machine": f"{platform.machine()}, {platform.system()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
