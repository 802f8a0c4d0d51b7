"""Analytic-DPM's trajectory: the steps that cost least in the bound on the likelihood, but for the last, to the data
(Bao et al. 2022, arXiv:2201.06503; with DDPM's variances as Watson et al. 2021, arXiv:2106.03802, who count it too)."""

from functools import lru_cache

import numpy as np

from samplers.steps import NoTable

VARIANCES = ("analytic", "small", "large")


def dp(
    process,
    steps,
    start: float | None = None,
    end: float | None = None,
    variance="analytic",
    candidates=300,
    known=None,
):
    """The best of all paths through `candidates` steps even in the half log-SNR, by a dynamic programme; then the last
    step to the end of the process, where that is cleaner.

    A step costs the divergence of DDPM's posterior from what is drawn with the optimal variance, or with one of DDPM's
    own, for m_t = E[Var(x0 | x_t)] as measured: `known` = (half log-SNRs, variances), which `fewstep calibrate` brings.
    With the optimal variance all paths cost the same on Gaussian data.

    Raises NoTable for more steps than candidates, ValueError where m is not known.
    """
    if variance not in VARIANCES:
        raise ValueError(f"dp.variance is one of {', '.join(VARIANCES)}, not {variance!r}")
    if candidates != int(candidates) or candidates < 2:
        raise ValueError(f"dp.candidates is a whole number, at least 2: got {candidates}")
    if steps != int(steps) or steps < 1:
        raise ValueError(f"a grid needs a whole number of steps, at least 1: got {steps}")
    if known is None:
        raise ValueError("the grid dp is laid out by statistics of a run (fewstep calibrate RUN): here is no run")
    first, finite = process.snr_ends
    first, target = first if start is None else start, process.ends[1] if end is None else end
    last = max(target, finite)  # the steps go so far, the last one to the target
    tail = [target] if target < last else []
    if not np.isfinite(process.lam(np.array([first, last]))).all():
        raise ValueError(f"dp.start: a grid even in log-SNR has finite ends, and alpha is 0 at {first:g}")
    moves = int(steps) - len(tail)
    if moves > candidates:
        raise NoTable(f"the grid dp has no {steps} steps among {candidates}: take fewer")
    if moves == 0:
        return np.array([first, *tail])
    told = tuple(tuple(np.asarray(a, np.float64).tolist()) for a in known)
    times, before = _paths(process, first, last, int(candidates), variance, told, _most(moves))
    at = [len(times) - 1]
    for row in reversed(before[:moves]):
        at.append(row[at[-1]])
    return np.concatenate([times[at[::-1]], tail])


def _most(moves):
    """One table serves all numbers of steps up to a power of two."""
    return 1 << max(6, int(moves - 1).bit_length())


@lru_cache(maxsize=16)
def _paths(process, first, last, count, variance, known, most):
    """The times from first to last, and for 1, 2, ... moves from where the best path arrives at each of them."""
    lam = np.linspace(*process.lam(np.array([first, last])), count + 1)
    times = np.asarray(process.time(lam), np.float64)
    times[0], times[-1] = first, last
    logs = np.log(np.maximum(known[1], 1e-12))
    cost = step_costs(process, times, variance, np.exp(np.interp(lam, known[0], logs)))
    best, before = cost[0], [np.zeros(count + 1, int)]
    for _ in range(min(most, count) - 1):
        total = best[:, None] + cost
        before.append(total.argmin(0))
        best = total.min(0)
    return times, before


def step_costs(process, times, variance, m) -> np.ndarray:
    """Nats per dimension of a step from each of falling times (N,), with m there (N,), to each later one: (N, N), inf
    for others.

    With inner = -sigma_s^2 expm1(-2h), the posterior's variance, and its mean's move c = -alpha_s expm1(-2h) per unit
    of x0:  1/2 [log(var / inner) + (inner + c^2 m_t) / var - 1].
    """
    lam, alpha, sigma = process.lam(times), process.alpha(times), process.sigma(times)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gone = -np.expm1(-2 * (lam[None, :] - lam[:, None]))
        inner, move = sigma**2 * gone, alpha * gone
        best = inner + move**2 * np.asarray(m)[:, None]
        large = inner + move**2 * (sigma**2 / (alpha**2 + sigma**2))[:, None]
        var = {"analytic": best, "small": inner, "large": large}[variance]
        cost = 0.5 * (np.log(var / inner) + best / var - 1)
    return np.where(np.triu(np.ones_like(cost, bool), 1), cost, np.inf)
