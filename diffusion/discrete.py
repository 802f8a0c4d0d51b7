"""The process of a model trained on N noise levels, interpolated between them (Ho et al. 2020, arXiv:2006.11239).

    alpha(n/N) = prod_{i <= n} (1 - beta_i)^(1/2),  n = 0..N;  log alpha is linear in t between (arXiv:2206.00927)

Index n - 1 of a library that counts from 0 is at t = n/N.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from fewstep.diffusion.arrays import NumberT, namespace
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked


def linear(steps: int) -> np.ndarray:
    """From 1e-4 to 2e-2 at N = 1000, in proportion to 1/N elsewhere (Ho et al. 2020; arXiv:2102.09672)."""
    return np.linspace(1e-4, 2e-2, steps) * (1000 / steps)


def scaled_linear(steps: int) -> np.ndarray:
    """Equal steps in sqrt(beta), from 0.00085 to 0.012 at N = 1000: Stable Diffusion (arXiv:2112.10752)."""
    return np.linspace(0.00085**0.5, 0.012**0.5, steps) ** 2 * (1000 / steps)


def cosine(steps: int) -> np.ndarray:
    """alpha^2 is a squared cosine, every beta at most 0.999 (Nichol & Dhariwal 2021, arXiv:2102.09672)."""
    bar = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - bar[1:] / bar[:-1], 0.999)


ROUNDING = float(np.finfo(float).eps)
SCHEDULES = {"linear": linear, "scaled_linear": scaled_linear, "cosine": cosine}


@checked
@dataclass(frozen=True)
class Discrete(Process):
    """N betas, or a named schedule of `steps` betas (by default 1000).

    `zero_snr` removes the signal from the last level, alpha_n <- (alpha_n - alpha_N) alpha_1 / (alpha_1 - alpha_N) (Lin
    et al. 2023, arXiv:2305.08891); a last beta of 1 also does.  Then alpha is linear in t on the last interval, where
    log alpha cannot be.

    The derivatives are discontinuous at n/N.  Their values there are those of the cleaner side, which a step towards
    the data crosses next.
    """

    betas: str | tuple[Annotated[float, Range(above=0, most=1)], ...] = "linear"
    steps: Annotated[int, Range(2, 100_000)] | None = None
    zero_snr: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.betas, str):
            if self.betas not in SCHEDULES:
                raise UsageError(f"Discrete.betas is one of {', '.join(SCHEDULES)}, or a tuple: got {self.betas!r}")
            betas = SCHEDULES[self.betas](self.steps or 1000)
        else:
            betas = np.asarray(self.betas, np.float64)
            self._require(betas.ndim == 1 and len(betas) > 1, "two betas or more")
            self._require(self.steps in (None, len(betas)), "no steps, or as many as betas")
            object.__setattr__(self, "betas", tuple(betas.tolist()))
        self._require((betas[:-1] < 1).all() and betas[-1] <= 1, "betas below 1 (for `linear`, 21 steps or more)")

    @cached_property
    def _levels(self) -> np.ndarray:
        """log alpha at n/N, n = 0..N; if alpha_N = 0 the last entry repeats the previous one."""
        betas = np.array(SCHEDULES[self.betas](self.steps or 1000) if isinstance(self.betas, str) else self.betas)
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = np.concatenate([[0.0], np.cumsum(0.5 * np.log1p(-betas))])
            if self.zero_snr:
                lost = -np.expm1(levels[1:] - levels[1])  # 1 - alpha_n / alpha_1
                levels[1:] = levels[1] + np.log1p(-lost / lost[-1])
        if self._ends_in_noise:
            levels[-1] = levels[-2]
        return levels

    @property
    def _ends_in_noise(self) -> bool:
        return self.zero_snr or self.betas[-1] == 1

    @property
    def count(self) -> int:
        """N, the number of noise levels."""
        return len(self._levels) - 1

    @property
    def snr_ends(self) -> tuple[float, float]:
        return 1 - self._ends_in_noise / self.count, 1 / self.count

    def index(self, t: NumberT) -> NumberT:
        """The index that conditions the network, N t - 1, clipped to [0, N - 1]; a whole number at trained levels."""
        return namespace(t).clip(self.count * t - 1, 0, self.count - 1)

    def _interval(self, t: Any) -> tuple[Any, Any]:
        """N t, and the n with N t in (n, n + 1]; N t within rounding of n counts as n."""
        at = self.count * (1.0 * t)
        if isinstance(at, float) and math.isfinite(at):  # a tenth of the time of NumPy's functions of arrays
            return at, min(max(math.ceil(at * (1 - 4 * ROUNDING)) - 1, 0), self.count - 1)
        xp = namespace(at)
        n = xp.ceil(at * (1 - 4 * xp.finfo(xp.result_type(at)).eps)) - 1
        return at, xp.clip(n, 0, self.count - 1).astype(int)

    def _levels_as(self, at: Any) -> Any:
        """The levels, of the kind and precision of a number or an array."""
        return self._levels if isinstance(at, float) else namespace(at).asarray(self._levels, at.dtype)

    def _log_alpha(self, t: NumberT) -> NumberT:
        at, n = self._interval(t)
        xp, levels = namespace(at), self._levels_as(at)
        log_alpha = levels[n] + (at - n) * (levels[n + 1] - levels[n])
        if self._ends_in_noise:
            with np.errstate(divide="ignore"):
                log_alpha = log_alpha + xp.log(xp.clip(self.count * (1 - t), 0, 1))
        return log_alpha

    def alpha(self, t: NumberT) -> NumberT:
        return namespace(t).exp(self._log_alpha(t))

    def sigma(self, t: NumberT) -> NumberT:
        xp = namespace(t)
        return xp.sqrt(abs(xp.expm1(2 * self._log_alpha(t))))

    def lam(self, t: NumberT) -> NumberT:
        with np.errstate(divide="ignore"):
            return self._log_alpha(t) - namespace(t).log(self.sigma(t))

    def dalpha(self, t: NumberT) -> NumberT:
        at, n = self._interval(t)
        xp, levels = namespace(at), self._levels_as(at)
        slope = self.count * (levels[n + 1] - levels[n]) * self.alpha(t)
        if self._ends_in_noise:
            slope = xp.where(n == self.count - 1, -self.count * xp.exp(levels[-1]), slope)
        return slope

    def dsigma(self, t: NumberT) -> NumberT:
        """Infinite at t = 0, where sigma grows as a square root."""
        with np.errstate(divide="ignore"):
            return -self.alpha(t) * self.dalpha(t) / self.sigma(t)

    def time(self, lam: NumberT) -> NumberT:
        xp = namespace(lam)
        log_alpha = -0.5 * xp.logaddexp(-2 * lam, xp.zeros_like(lam))
        levels = self._levels[: self.count + 1 - self._ends_in_noise]
        t = xp.interp(-log_alpha, xp.asarray(-levels), xp.asarray(np.arange(len(levels)) / self.count))
        if self._ends_in_noise:
            t = t - xp.expm1(xp.minimum(log_alpha - levels[-1], 0.0)) / self.count
        return t
