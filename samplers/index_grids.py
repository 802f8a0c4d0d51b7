"""Step grids of integer indices, for a process of N trained noise levels (algorithms.md B2).

Index n of 0..N-1, as libraries count, is the time (n + 1) / N.  A grid has `steps` of them and then the time `end`: 0,
or with end = 1/N the cleanest trained level (the final alpha of libraries without `set_alpha_to_one`; the grid must not
contain index 0 then, as with leading's offset = 1).  Indices are rounded from fractions, ties to even, never from sums
of floats.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

import numpy as np

from fewstep.diffusion import Discrete
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.steps import NoTable

Steps = Annotated[int, Range(1, 1_000_000)]
End = Annotated[float, Range(0, below=1)] | None


def _times(
    name: str, process: Process, steps: int, end: float | None, indices: Callable[[int, int], list[int]]
) -> np.ndarray:
    """indices(N, K), in decreasing order, as times.

    Raises NoTable if these are not K different indices above `end`, and UsageError if no K is possible.
    """
    if not isinstance(process, Discrete):
        raise UsageError(f"the grid {name} needs the indices of a Discrete process: {process} has none")
    n = np.array(indices(process.count, steps) if steps <= process.count else [])
    if not (len(n) and n[0] < process.count and (np.diff(n) < 0).all()):
        raise NoTable(
            f"the grid {name} has no {steps} different indices among {process.count}: take fewer steps or another grid"
        )
    times = (n + 1) / process.count
    if end is not None and not end < times[-1]:
        raise NoTable(f"the grid {name} cannot end at {end:g}: its last index is at {times[-1]:g}, take an offset")
    return np.append(times, 0.0 if end is None else end)


@checked
def leading(
    process: Process, steps: Steps, end: End = None, offset: Annotated[int, Range(0, 100_000)] = 0
) -> np.ndarray:
    """n_i = i floor(N / K) + offset (arXiv:2010.02502; offset 1 for Stable Diffusion).

    Index N - 1 is left out: the first step treats pure noise as a cleaner state (arXiv:2305.08891).
    """
    return _times("leading", process, steps, end, lambda n, k: [i * (n // k) + offset for i in reversed(range(k))])


@checked
def trailing(process: Process, steps: Steps, end: End = None) -> np.ndarray:
    """n_i = round(N - i N / K) - 1: starts at index N - 1, as a process without signal at t = 1 requires (Lin et al.
    2023, arXiv:2305.08891).
    """
    return _times("trailing", process, steps, end, lambda n, k: [round(Fraction(n * (k - i), k)) - 1 for i in range(k)])


@checked
def linspace(process: Process, steps: Steps, end: End = None) -> np.ndarray:
    """n_i = round(i (N - 1) / (K - 1)): both ends (arXiv:2102.09672, 2201.06503).  One step starts at N - 1."""
    return _times(
        "linspace",
        process,
        steps,
        end,
        lambda n, k: [round(Fraction(i * (n - 1), k - 1)) for i in reversed(range(k))] if k > 1 else [n - 1],
    )


@checked
def quadratic_ddim(process: Process, steps: Steps, end: End = None) -> np.ndarray:
    """n_i = floor(0.8 N (i / (K - 1))^2): DDIM's grid from 0.8 N, finer towards the data (arXiv:2010.02502).

    The first step treats pure noise as a far cleaner state.  From K = 1 + sqrt(0.8 N) on indices would repeat.
    """
    return _times(
        "quadratic_ddim",
        process,
        steps,
        end,
        lambda n, k: [4 * n * i**2 // (5 * (k - 1) ** 2) for i in reversed(range(k))] if k > 1 else [4 * n // 5],
    )
