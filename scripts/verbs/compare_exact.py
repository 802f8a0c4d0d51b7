"""fewstep compare --exact."""

import numpy as np

from fewstep.cli import parse
from fewstep.cli.config.settings import settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening
from fewstep.cli.verbs.compare import about, needs_report, show
from fewstep.cli.verbs.sampling import opened
from fewstep.cli.verbs.sweep import Asked
from fewstep.errors import lookup
from fewstep.evaluation.exact import compare_exactly, spectrum
from fewstep.evaluation.reference import MOST

GAUSSIAN = "0.2,0.5"


def main(
    names: list[str], asked: Asked, gaussian: str | None, opening: Opening, out: str | None, as_json: bool
) -> None:
    """Compare on the Gaussian data of runs (with the mean and covariance of their data), or for processes given by
    name."""
    budgets, known = asked.budgets(), settings(asked.overrides, run=False)
    names = [name.rstrip("/") for name in names or ["Linear"]]
    lines, data = asked.lines(run=False), {name: _data(name, gaussian, known, opening) for name in names}
    if out is not None:
        needs_report()
    results = None if out is None else parse.results(out, "--out")
    named = {type(known.processes[name]()).__name__ for name in names if name in known.processes}
    chosen = lines.on([process for process, *_ in data.values()], named)
    if lines.levers:
        raise UserError("--exact compares tables, without a network: leave levers out")
    if trained := next((line.name for line in chosen if line.sampler.levers), None):
        raise UserError(f"--exact compares tables, without a network: leave trained samplers out, such as {trained}")
    show(compare_exactly(data, chosen, budgets, **about()), results, as_json)


def _data(name, gaussian, known, opening):
    """(process, mean, var, unit); the unit of images is that of FD-pixels, pixels from 0 to 1."""
    if name in known.processes:
        numbers = _numbers(gaussian or GAUSSIAN)
        return known.processes[name](), np.full(len(numbers) - 1, numbers[0]), np.array(numbers[1:]) ** 2, 1.0
    if "/" not in name and not parse.path(name, "the run").exists():
        lookup("process or run", name, known.processes)
    if gaussian is not None:
        raise UserError("--gaussian sets the data of processes: a run has its own")
    run = opened(name, opening)
    images = run.data.train[: min(MOST, len(run.data.train))].image
    return run.model.process, *spectrum(images), 2.0 if len(run.shape) == 3 else 1.0


def _numbers(text):
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) < 2 or not np.isfinite(numbers).all() or min(numbers[1:]) < 0:
        raise UserError(f"--gaussian {text}: write the mean and one or more standard deviations, such as {GAUSSIAN}")
    return numbers
