"""The best way to sample a run at equal cost: successive halving over candidates, on paired seeds.

Every round draws as many images of each candidate as all rounds before it, so that the seeds of a round include those
before; it keeps the better half, without those whose paired interval to the leader excludes 0.  Rounds rank by FDinf
where FD decides: the FD of few images is mostly bias, which is smaller for smoother images; FDinf has less of it, but
some, where images are fewer than features.  Images are cells of a comparison, kept on disk: a search that was
interrupted resumes, and ends with the same answer.  The two best are then measured on seeds that took no part in the
search, because the best of many on some seeds is better there by chance.
(Successive halving: Jamieson & Talwalkar 2016, arXiv:1502.07943.)
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy  # whose parts load when they are first used
from etils import epath

from fewstep.errors import UsageError
from fewstep.evaluation.cells import Cells
from fewstep.evaluation.distances.frechet import Extrapolated
from fewstep.evaluation.drawing import Line, PlannedCell, Seeds, draw_missing, labels_to_draw, plan
from fewstep.evaluation.estimate import LEVEL, UNDEFINED, Difference, Estimate, Interval, difference
from fewstep.evaluation.features import Features
from fewstep.evaluation.measure import MetricEvaluator, interval, metric_name
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.models import trained_features
from fewstep.evaluation.reference import reference
from fewstep.samplers import Tableau, supports
from fewstep.samplers.checks import check_capabilities
from fewstep.samplers.cost import passes as passes_of
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import reduced
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
    metric: str  # of the last comparison
    searched: str  # the metric of the rounds
    winner: str
    runner_up: str | None  # None: there was one candidate
    budgets: dict[str, int]  # network calls that each candidate could afford
    values: dict[str, Interval]  # of the two, on seeds that took no part in the search
    apart: Difference | None  # the winner's value minus the runner-up's there
    rounds: list[Round]
    drawn: int  # images
    exhaustive: int  # images that drawing all candidates as often as the winner would take

    @property
    def decided(self) -> bool:
        """Whether the paired interval excludes 0."""
        return self.apart is None or (np.isfinite(self.apart.value) and not self.apart.low <= 0 <= self.apart.high)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data; numbers that are not finite are null."""
        rounds = [vars(one) | {"values": _plain(one.values)} for one in self.rounds]
        apart = None if self.apart is None else _numbers(self.apart)
        plain = vars(self) | {"values": _plain(self.values), "apart": apart, "rounds": rounds}
        return json.loads(json.dumps(plain | {"decided": bool(self.decided)}))


def _numbers(found: Interval | Difference) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in found._asdict().items()}


def _plain(values: dict[str, Interval]) -> dict[str, dict]:
    return {name: _numbers(value) for name, value in values.items()}


def affordable(run: Any, lines: Iterable[Line], passes: int) -> list[Candidate]:
    """The lines that have a table of at most so many network passes, each with its number of calls; of lines with the
    same table the first.  What the model or its levers do not support is left out with a message."""
    counted: dict[tuple, float] = {}
    found: dict[Any, Candidate] = {}
    for line in lines:
        around = (*line.levers, *line.sampler.levers)
        den = run.under(around)
        if not supports(den, line.sampler):
            say(f"{line.name} is left out: this model does not support it")
            continue
        nfe = line.sampler.nfe or passes
        while nfe:
            try:
                table = run.table(line.sampler, nfe, line.grids.get(line.grid_for(den.process)), line.levers)
                check_capabilities(den, table)
            except NoTable:
                break
            except UsageError as error:
                say(f"{line.name} is left out: {error}")
                break
            at = (tuple(map(id, around)), table.t.tobytes(), bool(table.spread.any()))
            if at not in counted:
                counted[at] = passes_of(den, table) if line.levers else table.nfe
            if counted[at] <= passes:
                found.setdefault((at[0], _same(table, den.process)), Candidate(line, nfe))
                break
            nfe = 0 if line.sampler.nfe else min(nfe - 1, int(nfe * passes / counted[at]))
    return [*found.values()]


def _same(table: Tableau, process: Any) -> tuple:
    """A key of what a table computes."""
    parts = (*reduced(table, process), table.cap, table.stretch, table.start)
    return tuple(
        np.round(np.nan_to_num(np.asarray(part, np.float64), posinf=np.inf, neginf=-np.inf), 9).tobytes()
        for part in parts
    )


class Measured:
    """Candidates with their cells, measured on more and more sets of seeds."""

    def __init__(self, run, candidates, cells, evaluator, metric, seeds):
        """seeds: `first` is not used; metric: the name with its features."""
        self.run, self.cells, self.evaluator, self.metric, self.seeds = run, cells, evaluator, metric, seeds
        self.by_name = {c.line.name: c for c in candidates}
        every = labels_to_draw(run.denoiser, run.data, seeds.count * seeds.repeats)
        parts = [slice(i * seeds.count, (i + 1) * seeds.count) for i in range(seeds.repeats)]
        self.conds = [jax.tree.map(lambda a, part=part: a[part], every) for part in parts]

    def __call__(self, names: Sequence[str], sets: int, first: int) -> dict[str, Estimate]:
        """The metric of candidates on so many sets of seeds from `first` on."""
        seeds, planned = Seeds(self.seeds.count, first, sets, self.seeds.batch), {}
        chosen = sorted((self.by_name[name] for name in names), key=lambda c: c.nfe)
        for nfe, group in groupby(chosen, key=lambda c: c.nfe):
            for p in plan(self.run, [c.line for c in group], [nfe], seeds, conds=self.conds[:sets]):
                planned[p.line.name] = p
        draw_missing([*planned.values()], seeds, self.cells)
        return {name: self._measured(planned[name]) for name in names}

    def _measured(self, p: PlannedCell) -> Estimate:
        drawn = [self.cells.load(p.name, key) for key in p.keys]
        if not all(d is not None and d.finite for d in drawn):
            return UNDEFINED
        return self.evaluator.of_images(np.concatenate([d.images for d in drawn if d is not None]))[self.metric]


def recommend(
    run: Any, lines: Sequence[Line], passes: int, *, folder: epath.Path, metric: str = "FD", features: Features,
    count: int = 2000, seed: int = SEARCHED, batch: int = 256,
) -> Recommendation:  # fmt: skip
    """The best of the lines for a run (`train.run.Run`) at so many network passes per image.

    metric: a distance of `evaluation.distances`.  The rounds end when two candidates are left, or with `count` images
    of each, rounded up to a multiple of SET; the last comparison takes as many.  Cells are kept in `folder`.  Raises
    UsageError if no line has a table, or none draws finite images, and for features that the run was trained on.
    """
    if metric_info(metric).better != "lower":
        raise UsageError(f"{metric} is no distance: recommend by FD, KID, SW, mind or energy")
    _check_not_trained_on(run, features)
    candidates = affordable(run, lines, passes)
    if not candidates:
        raise UsageError(f"no candidate has a table of {passes} network passes: give more")
    real, size = reference(run.data, count), min(SET, count)
    most = -(-count // size)
    seeds, cells = Seeds(size, 0, most, batch), Cells(folder / "cells")

    def measuring(name):
        evaluator = MetricEvaluator([name], [features], run.denoiser.classes, real, run.folder / "stats")
        return Measured(run, candidates, cells, evaluator, metric_name(name, features), seeds)

    searched = "FDinf" if metric == "FD" and size >= Extrapolated.least else metric
    measured = measuring(searched)
    names, rounds, drawn, before, sets = [c.line.name for c in candidates], [], 0, 0, 1
    while True:
        values = measured(names, sets, seed)
        drawn, before = drawn + len(names) * (sets - before) * size, sets
        ranked = sorted(values, key=lambda name: _score(values[name]))
        if not np.isfinite(values[ranked[0]].value):
            raise UsageError("no candidate draws finite images: give more passes, or other samplers")
        rest = [name for name in ranked[1:] if not _worse(values[name], values[ranked[0]], len(names))]
        kept = [ranked[0], *rest][: max(2, -(-len(names) // 2))]
        rounds.append(Round(sets * size, {name: interval(searched, values[name]) for name in ranked}, kept))
        leads = f"{kept[0]} leads, {len(kept)} kept"
        say(f"round {len(rounds)}: {len(names)} candidates, {sets * size} images each; {leads}")
        if len(kept) <= 2 or sets >= most:
            break
        names, sets = kept, min(2 * sets, most)
    two = [*kept, *(name for name in ranked if name not in kept)][:2]
    judged = measured if searched == metric else measuring(metric)
    final = judged(two, most, seed + JUDGED - SEARCHED)
    two = sorted(final, key=lambda name: _score(final[name]))
    return Recommendation(
        run=run.name, passes=passes, metric=judged.metric, searched=measured.metric,
        winner=two[0], runner_up=two[1] if len(two) > 1 else None,
        budgets={c.line.name: c.nfe for c in candidates}, values={name: interval(metric, final[name]) for name in two},
        apart=difference(final[two[0]], final[two[1]]) if len(two) > 1 else None, rounds=rounds,
        drawn=drawn + len(two) * most * size, exhaustive=len(candidates) * most * size,
    )  # fmt: skip


def _check_not_trained_on(run: Any, kind: Features) -> None:
    """UsageError for features that the training of a run has used: they do not tell how good its samples are."""
    if [kind.name, kind.digest] in trained_features(run):
        raise UsageError(f"{run.folder} was trained on the features {kind.name}, which cannot decide: choose others")


def _score(found: Estimate) -> float:
    return found.value if np.isfinite(found.value) else np.inf


def _worse(found: Estimate, leader: Estimate, of: int) -> bool:
    """Whether a candidate is worse than the leader, by a paired interval that holds for so many at once (Bonferroni);
    also if its images are not finite."""
    apart = difference(found, leader)
    wider = scipy.special.ndtri(1 - (1 - LEVEL) / (2 * of)) / scipy.special.ndtri(0.5 + LEVEL / 2)
    return not apart.value - wider * (apart.value - apart.low) <= 0
