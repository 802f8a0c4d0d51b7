"""Heun's method in sigma/alpha with noise added between steps (Karras et al. 2022, arXiv:2206.00364)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.ranges import NonNegative, Range, checked
from fewstep.samplers import runge_kutta
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row

NoiseScale = Annotated[float, Range(0, 10)]


@checked
def edm(
    process: Process,
    grid: np.ndarray,
    churn: NonNegative = 40.0,
    s_min: NonNegative = 0.0,
    s_max: Annotated[float, Range(0, np.inf)] | None = None,
    s_noise: NoiseScale = 1.0,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """EDM's stochastic sampler (algorithm 2) on x / alpha, thus for every process: before each step to s, added noise
    increases sigma/alpha at t by the factor 1 + min(churn / steps, sqrt(2) - 1), if sigma/alpha is in [s_min, s_max].

    churn = 0 is Heun's method in sigma/alpha: on VE `heun`.  EDM's code has 0; 40 within [0.05, 50] and s_noise = 1.003
    are its constants for ImageNet-64.  s_noise scales the standard deviation of the added noise; 1 keeps the marginals.
    The noise level never exceeds the (finite) start of the process, beyond which networks are not trained: on a full
    grid the first step has no churn.  On a grid that starts later the first row is at the churned time, and its state
    is the prior there.

    Two calls per step; one on steps from alpha = 0 (exact for a constant prediction), to sigma = 0 and to t = 0.
    """
    pairs = steps(grid)
    gamma = min(churn / len(pairs), np.sqrt(2) - 1)
    highest = np.inf if s_max is None else s_max

    def churned(t: float) -> float:
        if gamma == 0 or process.alpha(t) == 0 or not s_min <= process.sigma(t) / process.alpha(t) <= highest:
            return t
        return min(float(process.time(process.lam(t) - np.log1p(gamma))), max(t, process.snr_ends[0]))

    return zigzag(process, [(churned(t), s) for t, s in pairs], s_noise, noise)


def zigzag(
    process: Process, pairs: Sequence[tuple[float, float]], s_noise: float, noise: Noise = "fresh"
) -> Iterator[Row]:
    """Heun's steps t -> s in sigma/alpha, with added noise from each s up to the next t, on the path that of the next
    step."""
    for i, (t, s) in enumerate(pairs):
        *first, last = runge_kutta.step(process, t, s, runge_kutta.HEUN)
        yield from first
        up, after = pairs[i + 1] if i + 1 < len(pairs) else (s, s)
        yield last if up == s else _raised(process, last, s, up, s_noise)._replace(path=along(noise, s, after))


def _raised(process: Process, row: Row, s: float, t: float, s_noise: float) -> Row:
    """The row that ends at s, followed by the process's own noise from s up to t."""
    ratio = process.alpha(t) / process.alpha(s)
    added = process.sigma(t) * np.sqrt(-np.expm1(-2 * (process.lam(s) - process.lam(t))))
    return row._replace(
        x=ratio * row.x,
        x0=ratio * row.x0,
        eps=ratio * row.eps,
        past=tuple(ratio * c for c in row.past),
        noise=s_noise * added,
    )
