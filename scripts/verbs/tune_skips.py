"""fewstep tune-skips."""

import math

from rich import box
from rich.console import Console
from rich.table import Table

from fewstep.cli import batches, parse
from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening, Sampling
from fewstep.cli.verbs.features import named
from fewstep.cli.verbs.sampling import again, look_up, opened
from fewstep.diffusion.levers import skip_tuning
from fewstep.errors import lookup
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.report.table import number
from fewstep.evaluation.tuning import tune
from fewstep.ranges import MOST_IMAGES, within
from fewstep.train.run.skip_factors import Tuned, path, save
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import is_main_process

METRICS = [name for name in DISTANCES if metric_info(name).better == "lower" and name != "FDinf"]


def main(
    folder: str, sampling: Sampling, opening: Opening, values: str, window: str | None, refine: bool, metric: str,
    features: str, count: int, seed: int, batch: str,
) -> None:  # fmt: skip
    """Tune the skip factors of a run for a sampler in `nfe` calls, check them, and store them in the run."""
    looked_up = look_up(sampling, opening.set)
    lookup("metric that can be tuned on", metric, dict.fromkeys(METRICS))
    within(count, "--count", 2, MOST_IMAGES)
    size = batches.parsed(batch)
    tried, levels = sorted({*parse.numbers(values, "--values")}), _window(window)
    run = opened(folder, opening)
    skip_tuning(1.0)(run.denoiser)  # refused without skips
    chosen = looked_up.on(run)
    kinds = [named(text, run) for text in parse.words(features, "--features")]
    if len(run.data.held_out) < 4:
        raise UserError(f"{folder} has {len(run.data.held_out)} held-out images: tuning and checking need two each")
    table = chosen.table(run)
    if table.spread.any():
        raise UserError(f"{chosen.name} requires a variance, which differs for every factor: choose another sampler")
    options = {"count": count, "seed": seed, "batch": batches.chosen(size, [run], count), "refine": refine}
    try:
        found = tune(run, table, chosen.levers, levels, tried, metric=metric, features=kinds, **options)
    except KeyboardInterrupt:
        say(f"stopped: nothing was saved, and {folder} is unchanged")
        raise
    way = (chosen.name, table.nfe, chosen.grid, list(sampling.lever), list(opening.set))
    tuned = Tuned(list(found.best.factors), levels, run.weights, *way)
    if is_main_process():
        about = {"step": run.step, "count": count, "seed": seed, "metric": found.metric}
        about |= {name: [point._asdict() for point in getattr(found, name)] for name in ("curve", "steps")}
        save(run, tuned, **about, checks=[check._asdict() for check in found.checks])
        _show(found, run, tuned, opening, chosen)


def _window(text):
    """[low, high] of "LOW,HIGH", or None."""
    if text is None:
        return None
    ends = parse.numbers(text, "--window", most=math.inf)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
        raise UserError(f"--window {text}: write LOW,HIGH, two noise levels sigma / alpha from 0 to inf")
    return ends


def _show(found, run, tuned, opening, chosen):
    """The curve, the check, and what to do next."""
    console = Console(width=80)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("factors, innermost first", found.metric, "95 %"):
        table.add_column(name)
    for point in [*found.curve, *([found.best] if found.best not in found.curve else [])]:
        factors = ", ".join(f"{factor:.3g}" for factor in point.factors)
        mark = " *" if point == found.best else ""
        ends = f"{number(point.distance.low)} to {number(point.distance.high)}"
        table.add_row(factors, number(point.distance.value) + mark, ends)
    console.print(f"{run.name}, on the held-out images used for tuning; * is best:", table)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("on the other half", "without", "tuned", "difference", "95 %"):
        table.add_column(name, justify="left" if name == "on the other half" else "right")
    for check in found.checks:
        apart = check.difference
        ends = f"{number(apart.low)} to {number(apart.high)}"
        table.add_row(check.metric, *map(number, (check.without.value, check.tuned.value, apart.value)), ends)
    console.print(table)
    if found.best in (found.curve[0], found.curve[-1]) and len(found.curve) > 1:
        say("the best value is at the end of --values: extend the range")
    if not found.checks[0].difference.high < 0:
        say("on the images that were not used for tuning, the improvement is not significant")
    command = again(
        run, opening, chosen.sampler, tuned.nfe, tuned.grid, [*tuned.levers, "skip_tuning"], tuned.overrides
    )
    say(f"{path(run)}: {tuned}. Next: {command}")
