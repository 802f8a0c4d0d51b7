"""A table of few calls fitted to a denoiser: from the best unfitted start, each way to fit begins where the one before
it ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.errors import UsageError
from fewstep.samplers.checks import check_capabilities
from fewstep.samplers.fit.gradient import Descent, descend
from fewstep.samplers.fit.numbers import Ends, Numbers, numbers_of, placed, table
from fewstep.samplers.fit.path import shortest_path
from fewstep.samplers.fit.rows import least_squares
from fewstep.samplers.fit.teacher import Teacher, distance, follow, joined
from fewstep.samplers.grids import GRIDS
from fewstep.samplers.registry import SAMPLERS, Sampler, as_sampler, table_at
from fewstep.samplers.start import Seeds, as_seeds, unit_noise
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Tableau

STARTS = ("ddim", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "dpmpp_2s", "dpm_solver_2")
SOLVER = "dpmpp_3m"
WATCHED = 0.25  # share of the trajectories that are not fitted on
RANKED = 16  # trajectories on which the unfitted tables are ranked
REFINED = 2  # unfitted starts whose weights are fitted, the best ones

Show = Callable[[int, str], None]


class Fit(NamedTuple):
    """A fitted table, and how it was found."""

    table: Tableau
    last: float  # the time at which it ends
    method: str  # where it began
    errors: Mapping[str, float]  # of each stage, on the trajectories that decided between them


class _Stage(NamedTuple):
    name: str
    ends: Ends
    numbers: Numbers
    error: float


def trajectories(
    den: DenoiserLike, seeds: Seeds, shape: Sequence[int], cond: Cond = Cond(), calls: int = 100,
    show: Show = lambda done, note: None,
) -> Teacher:  # fmt: skip
    """The trajectories of the noise of the seeds by dpmpp_3m in `calls` calls, on its default grid."""
    accurate, parts, done = table_at(SAMPLERS[SOLVER], den.process, calls), [], 0
    eps = unit_noise(jnp.asarray(as_seeds(seeds)), tuple(shape), den.process)
    starts = np.asarray(eps) * den.process.sigma(accurate.t[0])
    for part in follow(den, accurate, starts.astype(np.float32), cond):
        parts.append(part)
        done += len(part.end) * accurate.nfe
        show(done, "trajectories")
    return joined(parts)


def unfitted(
    den: DenoiserLike, nfe: int, teacher: Teacher, samplers: Sequence[str | Sampler] = STARTS,
    grids: Sequence[str] | None = None,
) -> list[tuple[str, float, Tableau, float]]:  # fmt: skip
    """(name, error, table, its last time) of deterministic samplers on the grids of the registry, the best first."""
    found = []
    for sampler in map(as_sampler, samplers):
        for grid in grids or [name for name in GRIDS if name != "dp"]:
            try:
                made = table_at(sampler, den.process, nfe, GRIDS[grid])
                check_capabilities(den, made)
                last = float(GRIDS[grid](den.process, made.nfe)[-1])
            except (NoTable, UsageError):
                continue
            if made.nfe != nfe or made.noise.any():
                continue
            found.append((f"{sampler.name} on {grid}", distance(den, made, teacher), made, last))
    return sorted(found, key=lambda one: one[1])


def parted(teacher: Teacher) -> tuple[Teacher, Teacher]:
    """The trajectories that decide, and those that are fitted on; UsageError for less than 8."""
    if len(teacher.end) < 8:
        raise UsageError(f"a fit requires at least 8 trajectories: got {len(teacher.end)}")
    apart = int(WATCHED * len(teacher.end))
    return teacher.part(slice(apart)), teacher.part(slice(apart, None))


def fit(
    den: DenoiserLike, nfe: int, teacher: Teacher, how: Descent = Descent(), show: Show = lambda done, note: None
) -> Fit:
    """The table of `nfe` calls that follows the trajectories most closely: the better of the best unfitted tables and
    the path of smallest errors (`path`), each with weights by least squares (`rows`), then with all numbers by gradient
    (`gradient`).

    A quarter of the trajectories is not fitted on: it decides between the starts and the steps of the descent.
    show(done, note) is called with the number of network calls so far.  Raises UsageError if there is no table of this
    form, for a model that learned jumps only.
    """
    watched, fitted = parted(teacher)
    ranked = watched.part(slice(RANKED))
    process, starts, done = den.process, unfitted(den, nfe, ranked), 0
    if not starts:
        raise UsageError(f"no sampler has a table of {nfe} calls to begin with: {', '.join(STARTS)}")
    done += len(starts) * nfe * len(ranked.end)
    show(done, starts[0][0])
    begun = []
    for name, _, made, last in starts:
        if len(begun) < REFINED and (found := numbers_of(process, made, last)):
            begun.append(_Stage(name, *found, distance(den, made, watched)))
    ours = min((stage.error for stage in begun), default=starts[0][1])
    path = shortest_path(fitted, process.ends[1], nfe)
    if (np.diff(path) < 0).all():
        found = placed(process, path, np.zeros((nfe, nfe - 1)))
        begun.append(_Stage("the shortest path", *found, distance(den, table(process, *found), watched)))
    refined = []
    for stage in begun:
        found = least_squares(den, fitted, stage.ends, stage.numbers)
        away = distance(den, table(process, stage.ends, found), watched)
        refined.append(_Stage(stage.name, stage.ends, found, away))
        done += nfe * len(teacher.end)
        show(done, f"least squares: {refined[-1].error:.4g}")
    best = min([*begun, *refined], key=lambda stage: stage.error)
    calls = _calls_of_step(nfe, len(fitted.end), how)

    def told(step: int, away: float) -> None:
        show(done + step * calls, f"gradient: {away:.4g}")

    numbers, on_the_way = descend(den, fitted, watched, best.ends, best.numbers, how, told)
    errors = {"unfitted": ours, "start": best.error, "fitted": min(on_the_way)}
    return Fit(table(process, best.ends, numbers), best.ends.last, best.name, errors)


def all_calls(nfe: int, count: int, solution: int, how: Descent) -> int:
    """About the network calls of `trajectories` and `fit`, for progress."""
    starts = len(STARTS) * (len(GRIDS) - 1) * nfe * RANKED
    return count * solution + starts + (REFINED + 1) * nfe * count + how.steps * _calls_of_step(nfe, count, how)


def _calls_of_step(nfe, count, how):
    """About the network calls of a step of the descent: a gradient takes as long as two more, a curvature as one for
    each number."""
    return nfe * (5 * count + how.curved * (1 + nfe * (nfe + 1) // 2))
