"""The best way to sample a run at equal cost: successive halving over candidates, on paired seeds.

Every round draws as many images of each candidate as all rounds before it, so that the seeds of a round include those
before; it keeps the better half, without those whose paired interval to the leader excludes 0.  Images are cells of a
comparison, kept on disk: a search that was interrupted resumes, and ends with the same answer.  The two best are then
measured on seeds that took no part in the search, because the best of many on some seeds is better there by chance.
(Successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943.)
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from fewstep.errors import UsageError
from fewstep.evaluation.cells import Cells
from fewstep.evaluation.drawing import Line, PlannedCell, Seeds, draw_missing, plan
from fewstep.evaluation.estimate import UNDEFINED, Difference, Estimate, Interval, difference
from fewstep.evaluation.features import Features
from fewstep.evaluation.measure import MetricEvaluator, interval
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.reference import reference
from fewstep.samplers import SAMPLERS, table_at
from fewstep.samplers.cost import passes as passes_of
from fewstep.samplers.registry import FITTED
from fewstep.samplers.steps import NoTable
from fewstep.train.run.run import read_description
from fewstep.train.utils.messages import say

SEARCHED, JUDGED = 10**6, 2 * 10**6  # the first seeds of the search, and of the last comparison
SET = 125  # images per candidate in the first round, and per cell


class Candidate(NamedTuple):
    """A line at the number of network calls that it can afford."""

    line: Line
    nfe: int


@dataclass(frozen=True)
class Round:
    """What a round has found: its images per candidate, and the candidates from the best on."""

    images: int
    values: dict[str, Interval]
    kept: list[str]


@dataclass(frozen=True)
class Recommendation:
    """The winner of a search."""

    run: str
    passes: int
    metric: str
    winner: str
    runner_up: str | None  # None: there was one candidate
    calls: dict[str, int]  # network calls per image, of every candidate
    values: dict[str, Interval]  # of the two, on seeds that took no part in the search
    apart: Difference | None  # the winner's value minus the runner-up's there
    rounds: list[Round]
    drawn: int  # images
    exhaustive: int  # images that drawing all candidates as often as the winner would take

    @property
    def decided(self) -> bool:
        """Whether the paired interval excludes 0."""
        return self.apart is None or not self.apart.low <= 0 <= self.apart.high

    def to_json(self) -> str:
        """All fields."""
        return json.dumps(asdict(self) | {"decided": self.decided}, indent=1)


def affordable(run: Any, lines: Iterable[Line], passes: int) -> list[Candidate]:
    """The lines that have a table of at most so many network passes, each with its number of calls.

    The passes of a call under levers are counted on DDIM's table, at the number of calls in question.
    """
    counted: dict[tuple, float] = {}
    found = []
    for line in lines:
        den = run.under(line.levers)
        nfe = line.sampler.nfe if line.sampler.grid == FITTED else passes
        while nfe:
            at = (tuple(map(id, line.levers)), nfe)
            if at not in counted:
                counted[at] = passes_of(den, table_at(SAMPLERS["ddim"], den.process, nfe))
            if counted[at] <= passes:
                found += [Candidate(line, nfe)] if _has_table(run, line, nfe) else []
                break
            nfe = 0 if line.sampler.grid == FITTED else min(nfe - 1, int(nfe * passes / counted[at]))
    return found


def _has_table(run: Any, line: Line, nfe: int) -> bool:
    try:
        run.table(line.sampler, nfe, line.grids.get(line.grid_for(run.denoiser.process)), line.levers)
    except NoTable:
        return False
    return True


class _Measured:
    """Candidates with their cells, measured on more and more sets of seeds."""

    def __init__(self, run, candidates, cells, evaluator, metric, first, batch):
        self.run, self.cells, self.evaluator, self.metric = run, cells, evaluator, metric
        self.first, self.batch, self.by_name = first, batch, {c.line.name: c for c in candidates}
        self.drawn = 0

    def __call__(self, names: Sequence[str], sets: int, first: int) -> dict[str, Estimate]:
        """The metric of candidates on so many sets of seeds from `first` on."""
        seeds, planned = Seeds(self.first, first, sets, self.batch), {}
        chosen = sorted((self.by_name[name] for name in names), key=lambda c: c.nfe)
        for nfe, group in groupby(chosen, key=lambda c: c.nfe):
            for p in plan(self.run, [c.line for c in group], [nfe], seeds):
                planned[p.line.name] = p
        draw_missing([*planned.values()], seeds, self.cells)
        return {name: self._measured(planned[name]) for name in names if name in planned}

    def _measured(self, p: PlannedCell) -> Estimate:
        drawn = [self.cells.load(p.name, key) for key in p.keys]
        if not all(d is not None and d.finite for d in drawn):
            return UNDEFINED
        label = None if p.cond.label is None else np.tile(np.asarray(p.cond.label), len(drawn))
        images = np.concatenate([d.images for d in drawn if d is not None])
        found = self.evaluator.of_images(images, label)
        return next(value for name, value in found.items() if name.split("-")[0] in (self.metric, "FID"))


def recommend(
    run: Any, lines: Sequence[Line], passes: int, *, folder: epath.Path, metric: str = "FD",
    features: Sequence[Features], count: int = 2000, seed: int = SEARCHED, batch: int = 256,
) -> Recommendation:  # fmt: skip
    """The best of the lines for a run (`train.run.Run`) at so many network passes per image.

    metric: a distance of `evaluation.distances`, on the first of `features`.  The last rounds draw `count` images of a
    candidate.  Cells are kept in `folder`.  Raises UsageError if no line has a table.
    """
    if metric_info(metric).better != "lower":
        raise UsageError(f"{metric} is no distance: recommend by FD, KID, SW or energy")
    candidates = affordable(run, lines, passes)
    if not candidates:
        raise UsageError(f"no candidate has a table of {passes} network passes: give more")
    _check_not_trained_on(run, features[0])
    real = reference(run.data, count)
    evaluator = MetricEvaluator([metric], features[:1], run.denoiser.classes, real, run.folder / "stats")
    first = min(SET, count)
    measured = _Measured(run, candidates, Cells(folder / "cells"), evaluator, metric, first, batch)
    names, rounds, sets, drawn = [c.line.name for c in candidates], [], 1, 0
    most = max(1, count // first)
    before = 0
    while True:
        values = measured(names, sets, seed)
        drawn += len(names) * (sets - before) * first
        before = sets
        ranked = sorted(values, key=lambda name: _score(values[name]))
        rest = [name for name in ranked[1:] if not _worse(values[name], values[ranked[0]])]
        kept = [ranked[0], *rest][: max(2, -(-len(names) // 2))]
        rounds.append(Round(sets * first, {name: interval(metric, values[name]) for name in ranked}, kept))
        leads = f"{kept[0]} leads, {len(kept)} kept"
        say(f"round {len(rounds)}: {len(names)} candidates, {sets * first} images each; {leads}")
        if len(kept) == 1 or sets >= most:
            break
        names, sets = kept, min(2 * sets, most)
    two = [*kept, *[name for name in ranked if name not in kept]][:2]
    final = measured(two, most, seed + JUDGED - SEARCHED)
    drawn += len(two) * most * first
    two = sorted(final, key=lambda name: _score(final[name]))
    apart = difference(final[two[0]], final[two[1]]) if len(two) > 1 else None
    return Recommendation(
        run=run.name, passes=passes, metric=f"{metric}-{features[0].name}", winner=two[0],
        runner_up=two[1] if len(two) > 1 else None, calls={c.line.name: c.nfe for c in candidates},
        values={name: interval(metric, final[name]) for name in two}, apart=apart, rounds=rounds, drawn=drawn,
        exhaustive=len(candidates) * most * first,
    )  # fmt: skip


def _check_not_trained_on(run: Any, kind: Features) -> None:
    """UsageError for features that the training of a run has used: they do not tell how good its samples are."""
    used = read_description(run.folder)["trained_features"] if (run.folder / "run.json").exists() else []
    if [kind.name, kind.digest] in used:
        raise UsageError(f"{run.folder} was trained on the features {kind.name}, which cannot decide: choose others")


def _score(found: Estimate) -> float:
    return found.value if np.isfinite(found.value) else np.inf


def _worse(found: Estimate, leader: Estimate) -> bool:
    """Whether a candidate is worse than the leader, by the paired interval."""
    apart = difference(found, leader)
    return not apart.low <= 0
