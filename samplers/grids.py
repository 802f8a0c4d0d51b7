"""Step grids: (process, steps) -> decreasing float64 times, (steps + 1,) of them (algorithms.md B).

By default `start` and `end` are those of the process.  Grids in log-SNR or sigma/alpha put `steps` points between the
finite ends and add a last step to the end of the process, if that is cleaner.  A grid that does not have so many steps
raises samplers.steps.NoTable; `table_at` then tries fewer.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import scipy  # whose parts load when they are first used

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, checked
from fewstep.samplers.index_grids import End, Steps, leading, linspace, quadratic_ddim, trailing
from fewstep.samplers.optimal_grid import dp

Start = Annotated[float, Range(above=0, most=1)] | None
Shape = Annotated[float, Range(above=0, most=1000)]
Inner = Annotated[float, Range(above=0, below=1)]


def _in_time(process: Process, start: float | None, end: float | None) -> tuple[float, float]:
    first, last = process.ends
    return first if start is None else start, last if end is None else end


def _through(
    process: Process,
    steps: int,
    start: float | None,
    end: float | None,
    level: Callable[[float, float, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Times at which sigma/alpha is level(high, low, u), u = 0..1 in equal steps; the ends are kept exactly."""
    first, finite = process.snr_ends
    start = first if start is None else start
    tail = [process.ends[1]] if end is None and process.ends[1] < finite else []
    end = finite if end is None else end
    points = steps + 1 - len(tail)
    ends = np.exp(-np.asarray(process.lam(np.array([start, end]))))
    if not (np.isfinite(ends) & (ends > 0)).all():
        raise UsageError(f"a grid in log-SNR or sigma/alpha needs finite ends: alpha or sigma is 0 at {start} or {end}")
    inner = level(ends[0], ends[1], np.linspace(0, 1, points))
    times = np.asarray(process.time(-np.log(inner)), np.float64)
    times[0] = start
    if points > 1:
        times[-1] = end
    return np.concatenate([times, tail])


def _between(high: float, low: float, u: np.ndarray) -> Any:
    return high + u * (low - high)


@checked
def uniform(process: Process, steps: Steps, start: Start = None, end: End = None) -> np.ndarray:
    """Equal steps in t."""
    start, end = _in_time(process, start, end)
    return np.linspace(start, end, steps + 1)


@checked
def quadratic(process: Process, steps: Steps, start: Start = None, end: End = None) -> np.ndarray:
    """Equal steps in sqrt(t): finer towards the data (DPM-Solver, arXiv:2206.00927)."""
    start, end = _in_time(process, start, end)
    return np.linspace(np.sqrt(start), np.sqrt(end), steps + 1) ** 2


@checked
def shifted(
    process: Process,
    steps: Steps,
    start: Start = None,
    end: End = None,
    shift: Positive = 3.0,
    mu: Annotated[float, Range(-10, 10)] | None = None,
) -> np.ndarray:
    """Equal steps in r with t = shift r / (1 + (shift - 1) r): finer towards the noise for shift > 1 (Esser et al.
    2024, arXiv:2403.03206).  `mu` sets shift = e^mu, as in Flux, and overrides `shift`; see `flux_mu`.
    """
    start, end = _in_time(process, start, end)
    shift = shift if mu is None else np.exp(mu)
    first, last = (t / (shift - (shift - 1) * t) for t in (start, end))
    r = np.linspace(first, last, steps + 1)
    times = shift * r / (1 + (shift - 1) * r)
    times[0], times[-1] = start, end
    return times


def flux_mu(tokens: float) -> float:
    """Flux's mu of `shifted` for a number of image tokens: on the line through (256, 0.5) and (4096, 1.15)."""
    return 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)


@checked
def log_snr(process: Process, steps: Steps, start: Start = None, end: End = None) -> np.ndarray:
    """Equal steps in the half log-SNR (DPM-Solver, arXiv:2206.00927)."""
    return polyexponential(process, steps, start, end)


@checked
def polyexponential(
    process: Process, steps: Steps, start: Start = None, end: End = None, rho: Positive = 1.0
) -> np.ndarray:
    """log(sigma/alpha) = low + (high - low)(1 - u)^rho for u in equal steps (k-diffusion); rho = 1 is log_snr."""
    return _through(process, steps, start, end, lambda high, low, u: low * (high / low) ** ((1 - u) ** rho))


@checked
def karras(process: Process, steps: Steps, start: Start = None, end: End = None, rho: Positive = 7.0) -> np.ndarray:
    """Equal steps in (sigma/alpha)^(1/rho) (Karras et al. 2022, arXiv:2206.00364 eq. 5)."""
    return _through(
        process, steps, start, end, lambda high, low, u: _between(high ** (1 / rho), low ** (1 / rho), u) ** rho
    )


@checked
def arctan(process: Process, steps: Steps, start: Start = None, end: End = None, std: Positive = 1.0) -> np.ndarray:
    """Equal steps in arctan(sigma / (alpha std)): the optimal grid of DDIM for N(mean, std^2) data, algorithms.md B1
    ("KL optimal"; Sabour et al. 2024, arXiv:2404.14507).
    """
    return _through(
        process,
        steps,
        start,
        end,
        lambda high, low, u: std * np.tan(_between(np.arctan(high / std), np.arctan(low / std), u)),
    )


@checked
def beta(
    process: Process,
    steps: Steps,
    start: Start = None,
    end: End = None,
    alpha: Shape = 0.6,
    beta: Shape = 0.6,
    domain: str = "time",
) -> np.ndarray:
    """Quantiles of Beta(alpha, beta): finer at both ends for parameters below 1 (Lee et al. 2024, arXiv:2407.12173).

    "time": quantiles of t, the published grid before indices are rounded; its K points are above the last trained level
    and the last step goes to the end.  "sigma": quantiles of sigma/alpha, as in some libraries, which is another grid.
    """
    if domain not in ("time", "sigma"):
        raise UsageError(f"beta.domain is 'time' or 'sigma', not {domain!r}")
    if domain == "sigma":
        return _through(
            process,
            steps,
            start,
            end,
            lambda high, low, u: _between(low, high, scipy.special.betaincinv(alpha, beta, 1 - u)),
        )
    low = process.snr_ends[1] if end is None else end
    start, end = _in_time(process, start, end)
    times = _between(low, start, scipy.special.betaincinv(alpha, beta, 1 - np.arange(steps + 1) / steps))
    times[-1] = end
    return times


@checked
def bong_tangent(
    process: Process,
    steps: Steps,
    start: Start = None,
    end: End = None,
    middle: Inner = 0.5,
    pivot: Inner = 0.6,
    slope: Positive = 8.0,
) -> np.ndarray:
    """Two arctangents in t that meet at the share `middle` of its range after the share `pivot` of the steps, where the
    steps are longest: t goes as middle + (1 - middle) arctan(slope (pivot - u)) / arctan(slope pivot) before, and as
    middle (1 - arctan(slope (u - pivot)) / arctan(slope (1 - pivot))) after.

    Known by this name from node editors, on sigma of flow models; there the pivot is rounded to a step, and slope is
    0.2 for each of 40 steps.
    """
    start, end = _in_time(process, start, end)
    u = np.linspace(0, 1, steps + 1)
    before = middle + (1 - middle) * np.arctan(slope * (pivot - u)) / np.arctan(slope * pivot)
    after = middle * (1 - np.arctan(slope * (u - pivot)) / np.arctan(slope * (1 - pivot)))
    times = _between(end, start, np.where(u < pivot, before, after))
    times[0], times[-1] = start, end
    return times


AYS = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


@checked
def ays(process: Process, steps: Steps, start: Start = None, end: End = None, table: str = "sd15") -> np.ndarray:
    """Align Your Steps (Sabour et al. 2024, arXiv:2404.14507): eleven published sigma/alpha for Stable Diffusion 1.5,
    XL or Stable Video Diffusion; log sigma/alpha is interpolated to steps + 1 levels, and the last becomes the end.

    The first level is the start of the process; levels outside start and end are left out.
    """
    if table not in AYS:
        raise UsageError(f"ays.table is one of {', '.join(AYS)}, not {table!r}")
    last = float(process.time(-np.log(AYS[table][-1])))
    first, finite = process.snr_ends
    stop = process.ends[1] if end is None else end
    start = first if start is None else start
    last = last if stop < last < start else finite if end is None else end

    def level(high: float, low: float, u: np.ndarray) -> np.ndarray:
        inner = [sigma for sigma in AYS[table][1:] if low < sigma * (1 - 1e-9) and sigma < high]  # low: up to rounding
        knots = np.log([high, *inner, low])
        return np.exp(np.interp(u * (len(knots) - 1), np.arange(len(knots)), knots))

    times = _through(process, steps, start, last, level)
    times[-1] = stop
    return times


GRIDS = {
    grid.__name__: grid
    for grid in (
        *(uniform, quadratic, shifted, log_snr, polyexponential, karras, arctan, beta, ays, bong_tangent),
        *(leading, trailing, linspace, quadratic_ddim),
        dp,
    )
}
