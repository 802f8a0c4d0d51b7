"""Trajectories of an accurate solver, which tables are fitted to."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.diffusion.process import Process
from fewstep.samplers.fit.numbers import step
from fewstep.samplers.loop import draw, draw_many
from fewstep.samplers.start import start_scale
from fewstep.samplers.tableau import Row, Tableau, tabulate

BATCH = 64  # images at once


class Teacher(NamedTuple):
    """The trajectories of B images over M calls: states and predictions at decreasing times, and the ends."""

    process: Process
    times: np.ndarray  # (M,)
    x: np.ndarray  # (M, B, ...)
    x0: np.ndarray  # (M, B, ...) the prediction at each state
    end: np.ndarray  # (B, ...)
    cond: Cond

    def part(self, rows: slice | np.ndarray) -> "Teacher":
        """Those of some images."""
        cond = jax.tree.map(lambda a: np.asarray(a)[rows], self.cond)
        return Teacher(self.process, self.times, self.x[:, rows], self.x0[:, rows], self.end[rows], cond)

    def start(self, t: float) -> np.ndarray:
        """The initial states of draws that begin at a time, with the noise of the trajectories, in float64."""
        return np.asarray(self.x[0], np.float64) * (self.process.sigma(t) / self.process.sigma(self.times[0]))

    def scaled_start(self, table: Tableau) -> np.ndarray:
        """The initial states of a table, which may begin at another scale, in float32."""
        return (self.start(table.t[0]) * start_scale(self.process, table)).astype(np.float32)

    def at(self, t: float) -> np.ndarray:
        """The states at a time within the times, (B, ...): from the call before it, with the prediction interpolated
        linearly in the half log-SNR up to there, which has an error of order 3 in the distance of calls."""
        k = int(np.clip(np.searchsorted(-self.times, -t, side="right") - 1, 0, len(self.times) - 1))
        before = self.times[k]
        if t == before:
            return self.x[k]
        mean = self.x0[k]
        if k + 1 < len(self.times):
            lam = self.process.lam(np.array([before, t, self.times[k + 1]]))
            share = (lam[1] - lam[0]) / (lam[2] - lam[0]) / 2 if np.isfinite(lam).all() else 0.0
            mean = (1 - share) * mean + share * self.x0[k + 1]
        ratio, gain = step(self.process, before, t)
        return ratio * self.x[k] + gain * mean


def follow(
    den: DenoiserLike, table: Tableau, starts: np.ndarray, cond: Cond = Cond(), batch: int = BATCH
) -> Iterator[Teacher]:
    """Yields the trajectories of initial states (B, ...) by a table without noise, in batches, on the host."""
    for first in range(0, len(starts), batch):
        rows = np.minimum(np.arange(first, first + batch), len(starts) - 1)
        kept = slice(min(batch, len(starts) - first))
        part = jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], cond)
        seeds = np.zeros(batch, np.uint32)
        end, seen = draw(den, table, seeds, starts.shape[1:], cond=part, start=starts[rows], trajectory=True)
        whole = Teacher(den.process, table.t, np.asarray(seen.x), np.asarray(seen.x0), np.asarray(end), part)
        yield whole.part(kept)


def joined(parts: list[Teacher]) -> Teacher:
    """The trajectories of several batches."""
    first = parts[0]
    cond: Any = jax.tree.map(lambda *a: np.concatenate(a), *(part.cond for part in parts))
    x, x0 = (np.concatenate([getattr(part, name) for part in parts], 1) for name in ("x", "x0"))
    return Teacher(first.process, first.times, x, x0, np.concatenate([part.end for part in parts]), cond)


def distance(den: DenoiserLike, table: Tableau, teacher: Teacher) -> float:
    """The root mean square distance of the images of a table from those of a teacher, as the metric `trajectory` of a
    comparison; inf for images that are not finite."""
    images = drawn_from(den, table, teacher.scaled_start(table), teacher.cond)
    found = float(np.sqrt(np.mean((images - teacher.end) ** 2)))
    return found if np.isfinite(found) else np.inf


def predictions(den: DenoiserLike, t: float, x: np.ndarray, cond: Cond) -> np.ndarray:
    """The clean images predicted from the states x (B, ...) at one time, in float64."""
    return drawn_from(den, tabulate([Row(t, x0=1.0)]), x, cond)


def drawn_from(den: DenoiserLike, table: Tableau, starts: np.ndarray, cond: Cond) -> np.ndarray:
    """The images of a table without noise from initial states (B, ...), in float64."""
    seeds, dtype = np.zeros(len(starts), np.uint32), jnp.zeros(()).dtype
    images = draw_many(den, table, seeds, starts.shape[1:], cond=cond, start=starts.astype(dtype), batch=BATCH)
    return images.astype(np.float64)
