"""Comparison of samplers at budgets of network calls: the same seeds for all, measured against held-out images."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from etils import epath

from fewstep.diffusion.denoiser import CAPABILITY_NAMES, INSTANT, names_of
from fewstep.errors import UsageError
from fewstep.evaluation.asked import check_lines, names_of_runs
from fewstep.evaluation.cells import Cells, Drawn
from fewstep.evaluation.comparison import Cell, Comparison
from fewstep.evaluation.distances import DISTANCES, expected_bias
from fewstep.evaluation.drawing import Line, Seeds, draw_missing, plan
from fewstep.evaluation.estimate import Interval, mean
from fewstep.evaluation.features import Features, Pixels
from fewstep.evaluation.flow import flow_bits
from fewstep.evaluation.gaps import changes, gaps
from fewstep.evaluation.measure import MetricEvaluator, bpd, interval, metric_name
from fewstep.evaluation.metrics import BATCH, COUNT, METRICS, REFERENCE_ROWS, TRAINED, name_and_features
from fewstep.evaluation.models import model_record, trained_features
from fewstep.evaluation.outside import Sampled, far_outside
from fewstep.evaluation.reference import reference
from fewstep.samplers import SAMPLERS, supports
from fewstep.samplers.cost import passes
from fewstep.samplers.registry import adds_other_noise
from fewstep.train.data.fingerprint import change, fingerprint
from fewstep.train.utils.multihost import is_main_process
from fewstep.train.utils.progress import progress

SHOWN = 10  # seeds in the previews


def compare(
    runs: Sequence[Any],
    lines: Sequence[Line],
    budgets: Sequence[int],
    *,
    folder: epath.Path,
    metrics: Sequence[str] = METRICS,
    features: Sequence[Features] | None = None,
    count: int = COUNT,
    seed: int = 0,
    repeats: int = 1,
    batch: int = BATCH,
    levers: Sequence[str] = (),
    images: Mapping[str, np.ndarray] = {},
    **about: Any,
) -> Comparison | None:
    """Cells for runs (`train.run.Run`, on data of one shape) x lines x budgets.

    It draws `repeats` sets of `count` seeds per cell first and caches them in `folder`/cells.  Compilation is excluded
    from timings.  A budget for which a sampler has no table is omitted; metrics of images that are not finite are NaN.
    metrics: names of `metrics.METRIC_INFO`; features: by default pixels; `levers` (as text) and `about` (command,
    environment) are fields of the result.  images: {name: quantized images (N, ...)} made elsewhere, measured likewise.

    With several processes, all draw and the main process measures; the others return None.  Raises UsageError for runs
    on images of different shapes, for a run or the name of a line given twice, if no sampler has a table at any budget,
    and for metrics that cannot be computed.
    """
    names = names_of_runs(runs)
    check_lines([line.name for line in lines])
    features = features or [Pixels(runs[0].shape)]
    if len({run.shape for run in runs}) > 1:
        raise UsageError("the runs were trained on images of different shapes: compare those on the same data")
    named = dict(zip(names, runs, strict=True))
    groups, data_notes = _by_data(named)
    seeds, cells = Seeds(count, seed, repeats, batch), Cells(folder / "cells")
    _check_supported(runs, lines)
    plans = [plan(run, lines, budgets, seeds, metrics) for run in runs]
    _check_metrics(metrics, features, runs, plans, count)
    _check_images(images, runs[0].shape, metrics)
    training_count = None if "novelty" in metrics else count
    known = {}  # features of real images are computed once for runs on the same data
    for group in groups:
        for run in map(named.__getitem__, group):
            if (group[0], run.denoiser.classes) not in known:
                known[group[0], run.denoiser.classes] = MetricEvaluator(
                    metrics, features, run.denoiser.classes, reference(run.data, training_count), run.folder / "stats"
                )
    first = {name: group[0] for group in groups for name in group}
    evaluator = {name: known[first[name], run.denoiser.classes] for name, run in named.items()}
    memory = draw_missing([p for of_run in plans for p in of_run], seeds, cells)
    flowing = [INSTANT in run.denoiser.capabilities and "bpd" in metrics for run in runs]
    flows = [flow_bits(run, count, cells) if flows else None for run, flows in zip(runs, flowing, strict=True)]
    if not is_main_process():
        return None
    measured, rows, previews, sampled = {}, [], {}, []
    with progress(sum(map(len, plans)), unit="cells") as show:
        for name, of_run in zip(names, plans, strict=True):
            for p in of_run:
                drawn = [cast(Drawn, cells.load(p.name, key)) for key in p.keys]
                label, at = cast(Any, p.cond.label), (name, p.line.name, p.budget)
                values = [evaluator[name](d, label) for d in drawn]
                measured[at] = {metric: mean([v[metric] for v in values]) for metric in values[0]}
                previews[at] = _shown(drawn[0].images, label)
                rows.append(_cell(name, p, drawn, measured[at]))
                row = p.line.name if [name] in groups else f"{name} {p.line.name}"
                way = (p.line.sampler.name, p.budget, p.den.process, rows[-1].grid)
                sampled += [Sampled(row, d.rms, *way) for d in drawn]
                show(len(rows), f"{p.line.name} at {p.budget}")
    labels = [cast(Any, of_run[0].cond.label) for of_run in plans]
    classes = {
        name: [run.data.names[i] for i in _first_of_each(label)[0][:SHOWN]]
        for (name, run), label in zip(named.items(), labels, strict=True)
        if run.data.names and label is not None
    }
    floors = [_intervals(evaluator[name].floor(count, label)) for name, label in zip(names, labels, strict=True)]
    for floor, bits in zip(floors, flows, strict=True):
        floor |= {} if bits is None else {"bpd": interval("bpd", bpd(bits))}
    others = {}
    for group in groups:
        sets = {key: _intervals(evaluator[group[0]].of_images(array)) for key, array in images.items()}
        others |= dict.fromkeys(group, sets)
    kinds = {metric for values in measured.values() for metric in values}
    shown = [
        name for metric in metrics for name in [metric, *(metric_name(metric, f) for f in features)] if name in kinds
    ]
    trained = {name: _trained(run, features, shown) for name, run in named.items()}
    judged = {
        at: {metric: value for metric, value in values.items() if metric not in trained[at[0]]}
        for at, values in measured.items()
    }
    notes = [*data_notes, *_no_evidence(trained), *_larger(plans), *_left_out(names, runs, lines)]
    for group in groups:
        notes += _notes(group, evaluator[group[0]], named[group[0]].data, rows, count)
    notes += [
        f"{name}: {len(array)} images, not {count}: the bias of FD differs."
        for name, array in images.items()
        if len(array) != count
    ]
    notes += far_outside(sampled)
    return Comparison(
        runs=names, groups=groups, lines=[line.name for line in lines], budgets=list(budgets), metrics=shown,
        cells=rows, gaps=gaps(judged, groups, budgets, shown), changes=changes(judged, groups, shown),
        floors=dict(zip(names, floors, strict=True)), models={name: model_record(run) for name, run in named.items()},
        images=others, notes=notes, count=count, seed=seed, repeats=repeats,
        memory={name: memory.get(id(run)) for name, run in zip(names, runs, strict=True)}, previews=previews,
        levers=tuple(levers), classes=classes, trained={name: found for name, found in trained.items() if found},
        **about,
    )  # fmt: skip


def _by_data(runs):
    """The names of {name: run} in groups of the same data, and a note for each group but the first."""
    groups, records, notes = {}, {}, []

    def changed(first, run):
        """How the data of a run differ from those of the first of a group, or None."""
        if (data := runs[first].data) is run.data:
            return None
        if first not in records:
            records[first] = {"shape": data.shape, "classes": data.classes, "data": fingerprint(data)}
        return change(records[first], run.data)

    for name, run in runs.items():
        found = next((first for first in groups if not changed(first, run)), name)
        groups.setdefault(found, []).append(name)
    first, *others = groups
    for other in others:
        has = "has" if len(groups[other]) == 1 else "have"
        what = changed(first, runs[other])
        notes.append(
            f"{', '.join(groups[other])} {has} other data than {first} ({what}): each table is measured against its "
            f"own held-out images."
        )
    return [*groups.values()], notes


def _check_supported(runs, lines):
    for line in lines:
        if not any(supports(run.denoiser, line.sampler) for run in runs):
            learned = names_of(frozenset().union(*(run.denoiser.capabilities for run in runs)))
            able = [name for name, sampler in SAMPLERS.items() if any(supports(run.denoiser, sampler) for run in runs)]
            raise UsageError(
                f"none of these runs supports {line.sampler.name} (they learned {learned}): remove it, and choose from "
                f"{', '.join(able[:4])}"
            )


def _check_metrics(metrics, features, runs, plans, count):
    kinds = [kind.name for kind in features]
    if twice := {name for name in kinds if kinds.count(name) > 1}:
        raise UsageError(f"two kinds of features have the name {twice.pop()}: use one at a time")
    for metric in metrics:
        least = DISTANCES[metric].least if metric in DISTANCES else 2
        if count < least:
            raise UsageError(f"{metric} requires at least {least} images: draw more than {count}")
    known = {run.denoiser.classes for run in runs} - {0}
    if "accuracy" in metrics and not known:
        raise UsageError("accuracy requires conditional models, but these runs have no classes")
    if "accuracy" in metrics and not known & {kind.classes for kind in features}:
        raise UsageError(
            "accuracy requires features of a classifier with the classes of the run: add --features classifier"
        )
    for run in runs if "bpd" in metrics else ():
        run.denoiser.process.check_gaussian("bpd")
    computed = {name for of_run in plans for p in of_run for extra in p.extras for name in extra}
    requires = {
        "trajectory": "a sampler without noise",
        "bpd": "ddpm or analytic_ddpm, on images and a grid that ends at 0 (--set uniform.end=0)",
    }
    asked = [metric for metric in metrics if metric in requires]
    if asked and not any(INSTANT in run.denoiser.capabilities for run in runs):
        raise UsageError(
            f"{asked[0]} requires a model that learned {CAPABILITY_NAMES[INSTANT]}, which none of these runs did"
        )
    for metric in requires.keys() & {*metrics} - computed:
        raise UsageError(f"{metric} requires {requires[metric]}")


def _check_images(images, shape, metrics):
    least = max((DISTANCES[metric].least for metric in metrics if metric in DISTANCES), default=2)
    for name, array in images.items():
        if name in REFERENCE_ROWS:
            raise UsageError(f"{name} is a row of the tables: rename that set of images")
        if array.shape[1:] != shape:
            sizes = ["x".join(map(str, size)) for size in (array.shape[1:], shape)]
            raise UsageError(f"the images of {name} are {sizes[0]}, those of the runs {sizes[1]}: resize them")
        if len(array) < least:
            raise UsageError(f"{name} has {len(array)} images: these metrics require at least {least}")


def _cell(name, p, drawn, values):
    times = np.concatenate([1e3 * d.seconds / d.batch for d in drawn])
    spent = Interval(float(np.median(times)), float(np.min(times)), float(np.max(times)))
    return Cell(
        run=name, line=p.line.name, sampler=p.line.sampler.name, grid=p.line.grid_for(p.den.process),
        swept=dict(p.line.swept), budget=p.budget, nfe=p.table.nfe, passes=passes(p.den, p.table),
        ms_per_image=spent, metrics=_intervals(values),
    )  # fmt: skip


def _intervals(values):
    return {metric: interval(metric, value) for metric, value in values.items()}


def _left_out(names, runs, lines):
    """A note for each run about samplers that it does not support."""
    asked = {line.sampler.name: line.sampler for line in lines}
    for name, run in zip(names, runs, strict=True):
        den = run.denoiser
        if missing := [name for name, one in asked.items() if not supports(den, one) or adds_other_noise(den, one)]:
            yield f"{name} does not support {', '.join(missing)}."


def _trained(run, features, metrics):
    """The metrics on features that a run was trained on."""
    used = trained_features(run)
    names = {kind.name for kind in features if [kind.name, kind.digest] in used}
    return [metric for metric in metrics if name_and_features(metric)[1] in names]


def _no_evidence(trained):
    for name, metrics in trained.items():
        if metrics:
            yield f"{TRAINED} {name} was trained on the features of {', '.join(metrics)}: its values are no evidence."


def _larger(plans):
    """A note about images larger than the data, which are downsampled before they are measured."""
    factors = {p.line.name: p.shape[0] // p.run.shape[0] for of_run in plans for p in of_run}
    names = {m: [name for name, factor in factors.items() if factor == m] for m in sorted({*factors.values()} - {1})}
    return [f"{', '.join(found)}: measured on means of {m} x {m} pixels." for m, found in names.items()]


def _notes(group, evaluator, data, cells, count):
    """Notes of a group about the bias of Frechet distances, if it exceeds a tenth of the smallest one, and about
    novelty on a part of the training images."""
    title, used, total = ", ".join(group), len(evaluator.real.training), len(data.train)
    if "novelty" in evaluator.metrics and used < total:
        yield f"{title}: novelty is measured against the first {used} of {total} training images."
    for kind, real in zip(evaluator.features, evaluator.held_out, strict=True):
        metric = metric_name("FD", kind)
        values = [c.metrics[metric].value for c in cells if c.run in group and metric in c.metrics]
        values = [value for value in values if np.isfinite(value)]
        bias = expected_bias(real, count) if values else 0.0
        if bias > 0.1 * min(values, default=np.inf):
            yield (
                f"{title}: {metric} has a bias of about {bias:.3g} from the finite numbers of images ({count} drawn, "
                f"{len(real)} held out), estimated for Gaussian features; FDinf extrapolates to infinitely many."
            )


def _shown(images, label):
    """The first images, one per class if there are classes; for points all."""
    if images.ndim != 4:
        return images
    first = np.arange(len(images)) if label is None else _first_of_each(label)[1]
    return images[first[:SHOWN]]


def _first_of_each(label):
    """The classes that occur, and the place of the first image of each."""
    return np.unique(label, return_index=True)
