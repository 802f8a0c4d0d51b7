"""DPM-Solver-v3 (Zheng et al. 2023, arXiv:2310.13268): an exponential integrator in the parameterization that the
statistics of a model choose (`diffusion.ems`)."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # whose parts load when they are first used

from fewstep.diffusion.ems import EMS
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Points, checked
from fewstep.samplers.exponential import KEEP
from fewstep.samplers.integrals import added, weights
from fewstep.samplers.stages import transfer
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row


@checked
def dpm_solver_v3(
    process: Process,
    grid: np.ndarray,
    points: Points = 3,
    corrector: bool = True,
    lower_final: bool | None = None,
    known: EMS | None = None,
) -> Iterator[Row]:
    """Multistep, one call per step: with z = x / alpha, f = (sigma / alpha) eps - l z and L, S the integrals of l and s
    from lam_t,

        z_s = e^-L (z_t - int_0^h e^(L + S) g(u) du),   g = e^-S f

    g is the polynomial through its last `points` values; it is constant where df/dlam = s f.  With l = 1 and s = 0 it
    is the data form of `exponential_ab`, with l = 0 and s = -1 its noise form.  With `corrector`, each state is
    corrected with the prediction there, as in `unipc`.  The order is `points`, with `corrector` one more.
    `lower_final` as in dpmpp_2m.

    known: the statistics of a model, without which it raises UsageError.
    """
    if known is None:
        raise UsageError(
            "dpm_solver_v3 needs statistics of a run: measure them with fewstep calibrate RUN --statistics ems"
        )
    form = _form(*(np.asarray(column, np.float64).tobytes() for column in known))
    correction = np.zeros(1)  # of the state before the row: weights of f there and before
    for t, s, before in multistep(process, grid, points, lower_final):
        if process.alpha(t) == 0 or process.sigma(s) == 0:
            yield transfer(process, t, s, KEEP["data"])
            continue
        lam, end, alpha = process.lam(t), process.lam(s), process.alpha(s)
        at = [lam, *map(process.lam, before)]
        carry, predicted = alpha / process.alpha(t) * form.decay(lam, end), -alpha * form.weights(lam, end, at)
        yield _row(process, t, form, carry, added(predicted, carry * correction))
        if corrector:
            correction = added(-alpha * form.weights(lam, end, [end, *at]), [0.0, *-predicted])


def _row(process, t, form, carry, of_f) -> Row:
    """The row with x_s = carry x + sum_j of_f[j] f_j, where f = (1 - l) (sigma / alpha) eps - l x0 by x = alpha x0 +
    sigma eps."""
    alpha, sigma, linear = process.alpha(t), process.sigma(t), form.linear(process.lam(t))
    keep = -linear, (1 - linear) * sigma / alpha
    x0, eps = carry * alpha + of_f[0] * keep[0], carry * sigma + of_f[0] * keep[1]
    return Row(t, x0=x0, eps=eps, past=tuple(of_f[1:]), keep=keep)


class _Curve:
    """A cubic spline through values at increasing points, constant beyond them."""

    def __init__(self, at: np.ndarray, values: np.ndarray):
        self._ends, self._inside = (at[0], at[-1]), scipy.interpolate.CubicSpline(at, values)
        self._integral = self._inside.antiderivative()

    def __call__(self, u: Any) -> Any:
        return self._inside(np.clip(u, *self._ends))

    def integral(self, start: Any, end: Any) -> Any:
        return self._from_first(end) - self._from_first(start)

    def _from_first(self, u):
        inside = np.clip(u, *self._ends)
        return self._integral(inside) + self._inside(inside) * (u - inside)


class _Form:
    """The parameterization at half log-SNRs: l, and the integrals L and S of l and s."""

    def __init__(self, lam: np.ndarray, linear: np.ndarray, slope: np.ndarray):
        self._linear, self._slope = _Curve(lam, linear), _Curve(lam, slope)

    def linear(self, lam: float) -> float:
        return float(self._linear(lam))

    def decay(self, start: float, end: float) -> float:
        """e^-L from `start` to `end`."""
        return float(np.exp(-self._linear.integral(start, end)))

    def weights(self, start: float, end: float, at: Sequence[float]) -> np.ndarray:
        """The weights of f at the points `at` in e^-L(end) int_start^end e^(L + S) g, with L and S from `start`."""

        def density(u: np.ndarray) -> Any:
            return np.exp(self._slope.integral(start, start + u) - self._linear.integral(start + u, end))

        flattened = np.exp(-self._slope.integral(start, np.asarray(at)))  # g per f
        return weights(np.asarray(at) - start, 0.0, end - start, density) * flattened


@lru_cache
def _form(*columns: bytes) -> _Form:
    return _Form(*map(np.frombuffer, columns))
