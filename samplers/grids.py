"""Step grids: (process, steps) -> decreasing float64 times, (steps + 1,) of them (algorithms.md B).

Without `start` and `end` a grid runs between the process's own ends.  Grids laid out in log-SNR or sigma/alpha put
`steps` points between the finite ends and add the last step to the end of the process, where that is cleaner.
"""

import numpy as np


def _checked(steps):
    if steps != int(steps) or steps < 1:
        raise ValueError(f"a grid needs a whole number of steps, at least 1: got {steps}")
    return int(steps)


def _in_time(process, steps, start, end):
    first, last = process.ends
    return _checked(steps), first if start is None else start, last if end is None else end


def _through(process, steps, start, end, forward, backward):
    """Times at which `forward` of the noise level sigma/alpha is equally spaced; the ends are kept exactly."""
    steps = _checked(steps)
    first, last = process.snr_ends
    start = first if start is None else start
    tail = [process.ends[1]] if end is None and process.ends[1] < last else []
    end = last if end is None else end
    points = steps + 1 - len(tail)
    level = np.exp(-np.asarray(process.lam(np.array([start, end]))))
    if not (np.isfinite(level) & (level > 0)).all():
        raise ValueError(f"a grid in log-SNR or sigma/alpha needs finite ends: alpha or sigma is 0 at {start} or {end}")
    inner = backward(np.linspace(*forward(level), points))
    times = np.asarray(process.time(-np.log(inner)), np.float64)
    times[0] = start
    if points > 1:
        times[-1] = end
    return np.concatenate([times, tail])


def uniform(process, steps, start: float | None = None, end: float | None = None):
    """Equal steps in t."""
    steps, start, end = _in_time(process, steps, start, end)
    return np.linspace(start, end, steps + 1)


def quadratic(process, steps, start: float | None = None, end: float | None = None):
    """Equal steps in sqrt(t): finer towards the data (DPM-Solver, arXiv:2206.00927)."""
    steps, start, end = _in_time(process, steps, start, end)
    return np.linspace(np.sqrt(start), np.sqrt(end), steps + 1) ** 2


def log_snr(process, steps, start: float | None = None, end: float | None = None):
    """Equal steps in the half log-SNR (DPM-Solver, arXiv:2206.00927)."""
    return _through(process, steps, start, end, np.log, np.exp)


def karras(process, steps, start: float | None = None, end: float | None = None, rho=7.0):
    """Equal steps in (sigma/alpha)^(1/rho) (Karras et al. 2022, arXiv:2206.00364 eq. 5)."""
    return _through(process, steps, start, end, lambda level: level ** (1 / rho), lambda level: level**rho)


GRIDS = {"uniform": uniform, "quadratic": quadratic, "log_snr": log_snr, "karras": karras}
