"""fewstep compare --exact."""

import numpy as np

from fewstep.cli import config, parse
from fewstep.cli.compare import about, needs_report, show
from fewstep.cli.errors import UserError, lookup
from fewstep.evaluation.exact import compare_exactly, spectrum
from fewstep.evaluation.reference import MOST

GAUSSIAN = "0.2,0.5"


def main(names, chosen, gaussian, trust, step, out, as_json):
    """Compare on the Gaussian data of runs (with the mean and covariance of their data), or for processes given by
    name."""
    budgets, settings = chosen.budgets(), config.settings(chosen.overrides, run=False)
    names = [name.rstrip("/") for name in names or ["Linear"]]
    asked, data = chosen.lines(run=False), {name: _data(name, gaussian, settings, trust, step) for name in names}
    if out is not None:
        needs_report()
        out = parse.writable(out, "--out")
    named = {type(settings.processes[name]()).__name__ for name in names if name in settings.processes}
    lines = asked.on([process for process, *_ in data.values()], named)
    if asked.levers:
        raise UserError("--exact is about tables alone: leave levers out")
    show(compare_exactly(data, lines, budgets, **about()), out, as_json)


def _data(name, gaussian, settings, trust, step):
    """(process, mean, var, unit); the unit of images is that of FD-pixels, pixels from 0 to 1."""
    if name in settings.processes:
        numbers = _numbers(gaussian or GAUSSIAN)
        return settings.processes[name](), np.full(len(numbers) - 1, numbers[0]), np.array(numbers[1:]) ** 2, 1.0
    if "/" not in name and not parse.path(name, "the run").exists():
        lookup("process or run", name, settings.processes)
    if gaussian is not None:
        raise UserError("--gaussian is the data of processes: a run has its own")
    run = config.open_run(parse.path(name, "the run"), trust, step)
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
