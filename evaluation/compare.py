"""Samplers against budgets of network calls: the same seeds through every table, distances to held-out images."""

from itertools import product

import numpy as np

from fewstep.diffusion.denoiser import CAPABILITY_NAMES, INSTANT, names_of
from fewstep.diffusion.errors import UsageError
from fewstep.evaluation.cells import Cells
from fewstep.evaluation.comparison import Cell, Comparison, Gap, best_of
from fewstep.evaluation.distances import DISTANCES, expected_bias
from fewstep.evaluation.drawing import Seeds, draw_missing, plan
from fewstep.evaluation.estimate import Interval, difference, mean
from fewstep.evaluation.features import Pixels
from fewstep.evaluation.flow import flow_bits
from fewstep.evaluation.measure import MetricEvaluator, bpd, interval, metric_name
from fewstep.evaluation.reference import reference
from fewstep.samplers import SAMPLERS, supports
from fewstep.samplers.cost import passes
from fewstep.train.data.fingerprint import change, fingerprint
from fewstep.train.utils.multihost import is_main_process
from fewstep.train.utils.progress import progress

SHOWN = 10  # seeds shown side by side
COUNT, BATCH = 500, 256  # images of a cell, and at once
METRICS = ("FD", "SW")


def compare(
    runs,
    lines,
    budgets,
    *,
    folder,
    metrics=METRICS,
    features=None,
    count=COUNT,
    seed=0,
    repeats=1,
    batch=BATCH,
    levers=(),
    **about,
) -> Comparison | None:
    """Cells for runs (as of `train.run.Run`, on data of one shape) x lines x budgets.

    Images are drawn first, `repeats` sets of `count` seeds, and kept in `folder`/cells: those that are there are not
    drawn again.  What has to be compiled is, before the clock starts.  A budget for which a sampler has no table is
    left out; where a sampler diverges its metrics are NaN.  metrics: names of `metrics.METRIC_INFO`; features: a list
    of `Features`, by default pixels; `levers` (their texts) and `about` (command, environment) go in the result.

    Of several processes, all draw and the first one measures; the others get None.  Raises UsageError for runs on
    images of different shapes, where no sampler has a table at any budget, and where a metric cannot be told.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    features = features or [Pixels(runs[0].shape)]
    if len({run.shape for run in runs}) > 1:
        raise UsageError("the runs were trained on images of different shapes: compare those on the same data")
    apart = _other_data(runs, names)
    seeds, cells = Seeds(count, seed, repeats, batch), Cells(folder / "cells")
    _check_supported(runs, lines)
    plans = [plan(run, lines, budgets, seeds, metrics) for run in runs]
    _check_metrics(metrics, features, runs, plans, count)
    seen = None if "novelty" in metrics else count
    evaluators = [
        MetricEvaluator(metrics, features, run.denoiser.classes, reference(run.data, seen), run.folder / "stats")
        for run in runs
    ]
    memory = draw_missing([p for of_run in plans for p in of_run], seeds, cells)
    flowing = [INSTANT in run.denoiser.capabilities and "bpd" in metrics for run in runs]
    flows = [flow_bits(run, count, cells) if flows else None for run, flows in zip(runs, flowing, strict=True)]
    if not is_main_process():
        return None
    measured, told, previews = {}, [], {}
    with progress(sum(map(len, plans)), unit="cells") as show:
        for name, of_run, gauge in zip(names, plans, evaluators, strict=True):
            for p in of_run:
                drawn = [cells.load(p.name, key) for key in p.keys]
                label, at = p.cond.label, (name, p.line.name, p.budget)
                values = [gauge(d, label) for d in drawn]
                measured[at] = {metric: mean([v[metric] for v in values]) for metric in values[0]}
                previews[at] = _shown(drawn[0].images, label)
                told.append(_cell(name, p, drawn, measured[at]))
                show(len(told), f"{p.line.name} at {p.budget}")
    floors = [_intervals(gauge.floor(count, p[0].cond.label)) for p, gauge in zip(plans, evaluators, strict=True)]
    for floor, bits in zip(floors, flows, strict=True):
        floor |= {} if bits is None else {"bpd": interval("bpd", bpd(bits))}
    kinds = {metric for values in measured.values() for metric in values}
    shown = [name for metric in metrics for name in [metric, *(metric_name(metric, f) for f in features)] if name in kinds]
    gaps = _gaps(measured, names, budgets, shown)
    gaps += [] if apart else _between(measured, names, budgets, shown)
    notes = [*apart, *_larger(plans), *_left_out(names, runs, lines), *_notes(evaluators, names, told, count, runs)]
    return Comparison(
        runs=names, lines=[line.name for line in lines], budgets=list(budgets), metrics=shown, cells=told,
        gaps=gaps, floors=dict(zip(names, floors, strict=True)),
        notes=notes, count=count, seed=seed, repeats=repeats,
        memory={name: memory.get(run.folder) for name, run in zip(names, runs, strict=True)}, previews=previews,
        levers=tuple(levers), **about,
    )  # fmt: skip


def _other_data(runs, names):
    """A note for every run on other data than the first."""
    if len(runs) == 1:
        return []
    data = runs[0].data
    known = {"shape": data.shape, "classes": data.classes, "data": fingerprint(data)}
    changes = {name: change(known, run.data) for name, run in zip(names[1:], runs[1:], strict=True)}
    return [
        f"{name} has other data than {names[0]} ({changed}): each is told against its own held-out ones."
        for name, changed in changes.items()
        if changed
    ]


def _check_supported(runs, lines):
    for line in lines:
        if not any(supports(run.denoiser, line.sampler) for run in runs):
            learned = names_of(frozenset().union(*(run.denoiser.capabilities for run in runs)))
            able = [name for name, sampler in SAMPLERS.items() if any(supports(run.denoiser, sampler) for run in runs)]
            raise UsageError(
                f"{line.sampler.name} asks for what no run here learned (they learned {learned}): leave it out, "
                f"and choose among {', '.join(able[:4])}"
            )


def _check_metrics(metrics, features, runs, plans, count):
    kinds = [kind.name for kind in features]
    if twice := {name for name in kinds if kinds.count(name) > 1}:
        raise UsageError(f"two kinds of features are called {twice.pop()}: compare with one at a time")
    for metric in metrics:
        least = DISTANCES[metric].least if metric in DISTANCES else 2
        if count < least:
            raise UsageError(f"{metric} needs at least {least} images: draw more than {count}")
    known = {run.denoiser.classes for run in runs} - {0}
    if "accuracy" in metrics and not known:
        raise UsageError("accuracy is that of images of asked classes, and these runs know none")
    if "accuracy" in metrics and not known & {kind.classes for kind in features}:
        raise UsageError("accuracy is that of a classifier of the run's classes: choose features that come from one")
    told = {name for of_run in plans for p in of_run for extra in p.extras for name in extra}
    of = {
        "trajectory": "samplers without noise",
        "bpd": "ddpm and analytic_ddpm, on images and a grid that ends at 0 (--set uniform.end=0)",
    }
    if not any(INSTANT in run.denoiser.capabilities for run in runs) and (asked := [m for m in metrics if m in of]):
        raise UsageError(
            f"{asked[0]} is that of models that learned {CAPABILITY_NAMES[INSTANT]}, and none of these runs did"
        )
    for metric in of.keys() & {*metrics} - told:
        raise UsageError(f"{metric} is that of {of[metric]}: choose one")


def _cell(name, p, drawn, values):
    times = np.concatenate([1e3 * d.seconds / d.batch for d in drawn])
    spent = Interval(*(float(f(times)) for f in (np.median, np.min, np.max)))
    grid = p.line.grid_for(p.den.process)
    at = (name, p.line.name, p.line.sampler.name, grid, dict(p.line.swept), p.budget, p.table.nfe)
    return Cell(*at, passes(p.den, p.table), spent, _intervals(values))


def _intervals(values):
    return {metric: interval(metric, value) for metric, value in values.items()}


def _gaps(measured, names, budgets, metrics):
    """Every line but the best, by run, budget and metric."""
    found = []
    for name, budget, metric in product(names, budgets, metrics):
        here = {at[:2]: v[metric] for at, v in measured.items() if (at[0], at[2]) == (name, budget) and metric in v}
        found += _behind(here, budget, metric)
    return found


def _between(measured, names, budgets, metrics):
    """The best line of every run but the best, by budget and metric."""
    found = []
    for budget, metric in product(budgets, metrics):
        here = {at[:2]: v[metric] for at, v in measured.items() if at[2] == budget and metric in v}
        parts = [{at: value for at, value in here.items() if at[0] == name} for name in names]
        found += _behind({at: here[at] for part in parts for at in _best(part, metric)}, budget, metric)
    return found if len(names) > 1 else []


def _behind(here, budget, metric):
    """Every (run, line) of {(run, line): Estimate} but the best."""
    found = []
    for best in _best(here, metric):
        others = [at for at in here if at != best]
        found += [Gap(*at, *best, budget, metric, difference(here[at], here[best])) for at in others]
    return found


def _best(here, metric):
    """[(run, line)] with the best of {(run, line): Estimate}; [] where none is."""
    return best_of({at: value.value for at, value in here.items()}, metric)[:1]


def _left_out(names, runs, lines):
    """What runs did not learn is left out of their tables."""
    asked = {line.sampler.name: line.sampler for line in lines}
    for name, run in zip(names, runs, strict=True):
        if missing := [sampler for sampler in asked if not supports(run.denoiser, asked[sampler])]:
            yield f"{name} did not learn what {', '.join(missing)} asks for."


def _larger(plans):
    """Images that are not of the size of the data are measured by the means of their pixels."""
    factors = {p.line.name: p.shape[0] // p.run.shape[0] for of_run in plans for p in of_run}
    names = {m: [name for name, factor in factors.items() if factor == m] for m in sorted({*factors.values()} - {1})}
    return [f"{', '.join(found)}: measured by the means of {m} x {m} pixels." for m, found in names.items()]


def _notes(evaluators, names, cells, count, runs):
    """What sampling alone adds to Frechet distances, where that matters: a tenth of the smallest; and of how many
    training images novelty is, where not of all."""
    found = []
    for gauge, name, run in zip(evaluators, names, runs, strict=True):
        seen, all_of_them = len(gauge.real.training), len(run.data.train)
        if "novelty" in gauge.metrics and seen < all_of_them:
            found.append(f"{name}: novelty is told against the first {seen} of {all_of_them} training images.")
        for kind, real in zip(gauge.features, gauge.held_out, strict=True):
            metric = metric_name("FD", kind)
            values = [c.metrics[metric].value for c in cells if c.run == name and metric in c.metrics]
            values = [value for value in values if np.isfinite(value)]
            bias = expected_bias(real, count) if values else 0.0
            if bias > 0.1 * min(values, default=np.inf):
                found.append(
                    f"{name}: even {count} images of the very data would have {metric} of about {bias:.3g} for their "
                    f"number and that of the {len(real)} held-out ones, were the features Gaussian; FDinf extrapolates."
                )
    return found


def _shown(images, label):
    """The first images, one of every class where there are classes; of points all."""
    if images.ndim != 4:
        return images
    first = np.arange(len(images)) if label is None else np.unique(label, return_index=True)[1]
    return images[first[:SHOWN]]
