"""What a comparison is asked for: the checks that the command line and Python share."""

from collections.abc import Mapping, Sequence
from typing import Any

from fewstep.errors import UsageError, listed, lookup
from fewstep.evaluation.features import Features
from fewstep.evaluation.metrics import METRIC_INFO
from fewstep.ranges import MOST_CALLS, MOST_IMAGES, within

LIMITS = {"count": (2, MOST_IMAGES), "seed": (0, 2**32 - 1), "repeats": (1, 100), "batch": (1, MOST_IMAGES)}


def budgets(nfe: Any, option: str = "nfe") -> list[int]:
    """Budgets of network calls, sorted, each once; UsageError for what is no such number."""
    return sorted({within(n, option, 1, MOST_CALLS) for n in some(nfe, option)})


def metrics(names: Any) -> list[str]:
    """The names of metrics, each once; UsageError for an unknown one."""
    found = list(dict.fromkeys(some(names, "metrics")))
    for name in found:
        lookup("metric", name, METRIC_INFO)
    return found


def numbers(given: Mapping[str, Any], dashes: str = "") -> dict[str, int]:
    """The numbers {name: value} of LIMITS; UsageError for one beyond its limits, under its name after `dashes`."""
    found = {name: within(value, f"{dashes}{name}", *LIMITS[name]) for name, value in given.items()}
    if found["seed"] + found["count"] * found["repeats"] > 2**32:
        raise UsageError(f"{dashes}seed {found['seed']}: the seeds that follow it must be below 2^32")
    return found


def features_of(given: Any) -> list[Features]:
    """Features, one or several, as a list; [] of None; UsageError for anything else."""
    found = [] if given is None else listed(given)
    for one in found:
        if isinstance(one, str) or not callable(one) or not hasattr(one, "digest"):
            raise UsageError(f"features are objects such as evaluation.features.Pixels: got {one!r}")
    return found


def some(values: Any, what: str) -> list:
    """One value or several, as a list; UsageError if there is none."""
    if not (found := listed(values)):
        raise UsageError(f"{what} is empty: give at least one")
    return found


def names_of_runs(runs: Sequence[Any]) -> list[str]:
    """A name for each run: that of its folder, the whole folder, or one of them with the step, whichever tells them
    apart.  Raises UsageError for a run that is given twice."""
    twice = None
    for way in (
        lambda run: run.name,
        lambda run: str(run.folder),
        lambda run: f"{run.name}@{run.step}",
        lambda run: f"{run.folder}@{run.step}",
    ):
        names = [way(run) for run in runs]
        if not (twice := _twice(names)):
            return names
    raise UsageError(f"the run {twice} is given twice: give each run once")


def check_lines(names: Sequence[str]) -> None:
    """Raises UsageError for two lines of one name."""
    if twice := _twice(names):
        raise UsageError(f"two lines are called {twice!r}: give each sampler once, and functions of different names")


def _twice(names):
    """The first name that is there twice, or None."""
    return next((name for i, name in enumerate(names) if name in names[:i]), None)
