"""Forward processes x_t = alpha(t) x0 + sigma(t) eps, with t = 0 data and t = 1 noise.

Every method takes Python floats, NumPy float64 arrays (host: tables) or JAX arrays (device: training), and returns the
same kind.  lam(t) = log(alpha/sigma) is the half log-SNR; it decreases from data to noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.arrays import Number, NumberT, namespace, over
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, checked


@dataclass(frozen=True)
class Process:
    """The base class: subclasses define alpha, sigma, their derivatives in t, and the inverse of lam.

    `ends` are the first and last time of a grid in t.  `snr_ends` are those of a grid in log-SNR or sigma/alpha, which
    are finite there.  Such a grid adds one last step from `snr_ends` to `ends` if the two differ.
    """

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last time of a grid in t."""
        return 1.0, 0.0

    @property
    def snr_ends(self) -> tuple[float, float]:
        """The first and the last time of a grid in log-SNR or sigma/alpha."""
        return self.ends

    @property
    def grid(self) -> str | None:
        """The name of this process's grid, which replaces the sampler's default grid; None keeps the latter."""
        return None

    def alpha(self, t: NumberT) -> NumberT:
        """The coefficient of x0."""
        raise NotImplementedError

    def sigma(self, t: NumberT) -> NumberT:
        """The coefficient of the noise eps."""
        raise NotImplementedError

    def dalpha(self, t: NumberT) -> NumberT:
        """d alpha / dt."""
        raise NotImplementedError

    def dsigma(self, t: NumberT) -> NumberT:
        """d sigma / dt."""
        raise NotImplementedError

    def time(self, lam: NumberT) -> NumberT:
        """The inverse of lam: the t at which the half log-SNR is `lam`."""
        raise NotImplementedError

    def lam(self, t: NumberT) -> NumberT:
        """Half log-SNR; +inf where sigma = 0, -inf where alpha = 0."""
        xp = namespace(t)
        with np.errstate(divide="ignore"):
            return xp.log(self.alpha(t)) - xp.log(self.sigma(t))

    def dlam(self, t: NumberT) -> NumberT:
        """d lam / dt, negative; -inf where alpha or sigma is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.dalpha(t) / self.alpha(t) - self.dsigma(t) / self.sigma(t)

    def split_noise(self, t: NumberT, s: NumberT, eta: float) -> tuple[NumberT, NumberT]:
        """(kept, fresh) with kept^2 + fresh^2 = sigma_s^2: the noise of x_s on a step t -> s, split into predicted eps
        and fresh noise.  fresh^2 = eta^2 times the posterior variance of DDPM (arXiv:2010.02502 eq. 16).

        `kept` is the root of the sum e^-2h + (1 - eta^2)(1 - e^-2h), never of a difference of variances.  For eta above
        1, fresh is bounded by sigma_s.
        """
        h = self.lam(s) - self.lam(t)
        xp = namespace(h)
        gone = -xp.expm1(-2 * h)
        kept = xp.sqrt(xp.maximum(xp.exp(-2 * h) + (1 - eta**2) * gone, 0.0))
        return self.sigma(s) * kept, self.sigma(s) * xp.sqrt(xp.minimum(eta**2 * gone, 1.0))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the noise: inf for Gaussian noise, otherwise those of Student's t (pfgm.py)."""
        return np.inf

    def noise(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """The noise eps of images, (B, ...): Gaussian z, or z sqrt(n / chi^2) with one chi^2 of n = `freedom` degrees
        of freedom per image."""
        z = jax.random.normal(key, shape)
        if np.isinf(self.freedom):
            return z
        chi2 = jax.random.chisquare(jax.random.fold_in(key, 1), self.freedom, shape[:1])
        return z * over(jnp.sqrt(self.freedom / chi2), z)

    def log_noise(self, squares: NumberT, size: int) -> NumberT:
        """log p(eps) of an image of `size` elements with |eps|^2 = squares, up to a constant."""
        if np.isinf(self.freedom):
            return -squares / 2
        return -0.5 * (size + self.freedom) * namespace(squares).log1p(squares / self.freedom)

    def check_gaussian(self, what: str) -> None:
        """Raises UsageError for a process whose noise is not Gaussian."""
        if not np.isinf(self.freedom):
            name = type(self).__name__
            raise UsageError(f"{what} requires Gaussian noise, and that of {name} is not: choose another process")

    def prior(self, key: jax.Array, t: Number, shape: Sequence[int]) -> jax.Array:
        """The initial state of one image at time t, sigma_t eps."""
        return self.noise(key, (1, *shape))[0] * self.sigma(t)

    def _require(self, condition: bool | np.bool, what: str) -> None:
        """Raises UsageError unless the condition on the parameters holds; for __post_init__."""
        if not condition:
            raise UsageError(f"{type(self).__name__} needs {what}: got {self}")


@dataclass(frozen=True)
class Linear(Process):
    """The straight path of rectified flow: alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003)."""

    @property
    def snr_ends(self) -> tuple[float, float]:
        return 1 - 1e-3, 1e-3

    @property
    def grid(self) -> str | None:
        """Equal steps in t: paths are nearly straight in t, and a grid in log-SNR spends its steps at infinite ends."""
        return "uniform"

    def alpha(self, t: NumberT) -> NumberT:
        return 1 - t

    def sigma(self, t: NumberT) -> NumberT:
        return 1.0 * t

    def dalpha(self, t: NumberT) -> NumberT:
        return namespace(t).full_like(t, -1.0)

    def dsigma(self, t: NumberT) -> NumberT:
        return namespace(t).full_like(t, 1.0)

    def time(self, lam: NumberT) -> NumberT:
        return 1 / (1 + namespace(lam).exp(lam))


@checked
@dataclass(frozen=True)
class VP(Process):
    """The variance-preserving process with a linear beta (Song et al. 2021, arXiv:2011.13456): the continuous limit of
    DDPM."""

    beta_min: Annotated[float, Range(above=0, most=1000)] = 0.1
    beta_max: Annotated[float, Range(above=0, most=1000)] = 20.0
    t_min: Annotated[float, Range(above=0, below=1)] = 1e-3

    def __post_init__(self) -> None:
        self._require(self.beta_min < self.beta_max, "beta_min < beta_max")

    @property
    def ends(self) -> tuple[float, float]:
        return 1.0, self.t_min

    def _log_alpha(self, t: NumberT) -> NumberT:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def alpha(self, t: NumberT) -> NumberT:
        return namespace(t).exp(self._log_alpha(t))

    def sigma(self, t: NumberT) -> NumberT:
        xp = namespace(t)
        return xp.sqrt(-xp.expm1(2 * self._log_alpha(t)))

    def lam(self, t: NumberT) -> NumberT:
        with np.errstate(divide="ignore"):
            return self._log_alpha(t) - namespace(t).log(self.sigma(t))

    def _beta(self, t: NumberT) -> NumberT:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def dalpha(self, t: NumberT) -> NumberT:
        return -0.5 * self._beta(t) * self.alpha(t)

    def dsigma(self, t: NumberT) -> NumberT:
        return 0.5 * self._beta(t) * self.alpha(t) ** 2 / self.sigma(t)

    def time(self, lam: NumberT) -> NumberT:
        xp = namespace(lam)
        span = self.beta_max - self.beta_min
        area = 2 * span * xp.logaddexp(-2 * lam, xp.zeros_like(lam))
        # The quotient form of the quadratic formula: no cancellation at small t.
        return area / ((xp.sqrt(self.beta_min**2 + area) + self.beta_min) * span)


@checked
@dataclass(frozen=True)
class Cosine(Process):
    """alpha = cos, sigma = sin of an angle linear in t, |log-SNR| bounded (Hoogeboom et al. 2023, arXiv:2301.11093)."""

    log_snr_max: Annotated[float, Range(above=0, most=100)] = 15.0

    @cached_property
    def _angles(self) -> tuple[float, float]:
        """The angle at t = 0 and its increase up to t = 1."""
        low = float(np.arctan(np.exp(-0.5 * self.log_snr_max)))
        return low, np.pi / 2 - 2 * low

    def _angle(self, t: NumberT) -> NumberT:
        low, span = self._angles
        return low + span * t

    def alpha(self, t: NumberT) -> NumberT:
        return namespace(t).sin(self._angle(1 - t))  # cos of the angle at t, without its cancellation near t = 1

    def sigma(self, t: NumberT) -> NumberT:
        return namespace(t).sin(self._angle(t))

    def dalpha(self, t: NumberT) -> NumberT:
        return -self._angles[1] * self.sigma(t)

    def dsigma(self, t: NumberT) -> NumberT:
        return self._angles[1] * self.alpha(t)

    def time(self, lam: NumberT) -> NumberT:
        xp = namespace(lam)
        low, span = self._angles
        return (xp.arctan(xp.exp(-lam)) - low) / span


@checked
@dataclass(frozen=True)
class VE(Process):
    """alpha = 1, sigma = sigma_max t: Euler and Heun in t are those of EDM (Karras et al. 2022, arXiv:2206.00364).
    With `geometric`, sigma = sigma_min (sigma_max/sigma_min)^t (Song et al. 2021).
    """

    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    geometric: bool = False

    def __post_init__(self) -> None:
        self._require(self.sigma_min < self.sigma_max, "sigma_min < sigma_max")

    @property
    def snr_ends(self) -> tuple[float, float]:
        return 1.0, 0.0 if self.geometric else self.sigma_min / self.sigma_max

    @property
    def grid(self) -> str | None:
        return None if self.geometric else "karras"

    @property
    def _log_ratio(self) -> float:
        return float(np.log(self.sigma_max / self.sigma_min))

    def alpha(self, t: NumberT) -> NumberT:
        return namespace(t).ones_like(1.0 * t)

    def sigma(self, t: NumberT) -> NumberT:
        if self.geometric:
            return self.sigma_min * namespace(t).exp(self._log_ratio * t)
        return self.sigma_max * t

    def dalpha(self, t: NumberT) -> NumberT:
        return namespace(t).zeros_like(1.0 * t)

    def dsigma(self, t: NumberT) -> NumberT:
        if self.geometric:
            return self._log_ratio * self.sigma(t)
        return namespace(t).full_like(1.0 * t, self.sigma_max)

    def time(self, lam: NumberT) -> NumberT:
        if self.geometric:
            return -(lam + float(np.log(self.sigma_min))) / self._log_ratio
        return namespace(lam).exp(-lam) / self.sigma_max
