"""Parameterizations of the network's output: a linear target F = A x0 + B eps, decoded by one formula.

With x = alpha x0 + sigma eps and det = alpha B - sigma A,

    x0 = (B x - sigma F) / det        eps = (alpha F - A x) / det.

det is bounded away from zero for v, velocity (linear path) and EDM outputs, which therefore never divide by alpha or
sigma.  x0-outputs divide by sigma; eps- and score-outputs divide by alpha, and do not determine x0 where alpha = 0.
"""

from dataclasses import dataclass
from typing import Any

from fewstep.diffusion.arrays import AnyArray, Number, NumberT, namespace
from fewstep.diffusion.process import Process
from fewstep.ranges import Positive, checked


@dataclass(frozen=True)
class Prediction:
    """The base class: subclasses define (A, B), and may define the scale of the input and the time conditioning."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        """(A, B) of the target A x0 + B eps at time t."""
        raise NotImplementedError

    def det(self, process: Process, t: Number) -> Any:
        """alpha B - sigma A; 0 where the target does not determine x0 and eps."""
        a, b = self.target(process, t)
        return process.alpha(t) * b - process.sigma(t) * a

    def input_scale(self, process: Process, t: Number) -> Any:
        """The factor by which x is multiplied before it enters the network."""
        return 1.0

    def clock(self, process: Process, t: Number) -> Any:
        """The time conditioning of the network."""
        return t

    def encode(self, process: Process, t: Number, x0: AnyArray, eps: AnyArray) -> Any:
        """The target A x0 + B eps; t broadcasts against x0."""
        a, b = self.target(process, t)
        return a * x0 + b * eps

    def decode(self, process: Process, t: Number, x: AnyArray, raw: AnyArray) -> tuple[Any, Any]:
        """(x0, eps) from the raw output at (x, t); t broadcasts against x."""
        (a, b), det = self.target(process, t), self.det(process, t)
        return (b * x - process.sigma(t) * raw) / det, (process.alpha(t) * raw - a * x) / det


class _X0(Prediction):
    """The clean image."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return 1.0, 0.0


class _Eps(Prediction):
    """The noise (Ho et al. 2020, arXiv:2006.11239)."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return 0.0, 1.0


class _V(Prediction):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512)."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return -process.sigma(t), process.alpha(t)


class _Velocity(Prediction):
    """u = alpha' x0 + sigma' eps, the drift of the probability-flow ODE (arXiv:2209.03003)."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return process.dalpha(t), process.dsigma(t)


class _Score(Prediction):
    """The gradient of log p_t(x), which is -eps / sigma (arXiv:2011.13456)."""

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return 0.0, -1 / process.sigma(t)


X0, EPS, V, VELOCITY, SCORE = _X0(), _Eps(), _V(), _Velocity(), _Score()


@checked
@dataclass(frozen=True)
class EDM(Prediction):
    """The preconditioned F of Karras et al. 2022 (arXiv:2206.00364, table 1) for data of standard deviation sigma_data.

    For x = alpha x0 + sigma eps of any process, with n^2 = sigma^2 + alpha^2 sigma_data^2,
    D = (alpha sigma_data^2 / n^2) x + (sigma sigma_data / n) F(x / n, -lam / 4).  This is the row of the table
    where alpha = 1, and stays finite where alpha = 0.
    """

    sigma_data: Positive = 0.5

    def _norm(self, process: Process, t: NumberT) -> NumberT:
        alpha, sigma = process.alpha(t), process.sigma(t)
        return namespace(alpha, sigma).sqrt(sigma**2 + (alpha * self.sigma_data) ** 2)

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        n = self._norm(process, t)
        return process.sigma(t) / (self.sigma_data * n), -process.alpha(t) * self.sigma_data / n

    def input_scale(self, process: Process, t: Number) -> Any:
        return 1 / self._norm(process, t)

    def clock(self, process: Process, t: Number) -> Any:
        """c_noise = log(sigma/alpha) / 4, with t clipped to the process's finite ends in log-SNR, in training and in
        sampling alike: a start from alpha = 0 stays within the trained range."""
        first, last = process.snr_ends
        return -process.lam(namespace(t).clip(t, last, first)) / 4


def edm(sigma_data: float = 0.5) -> EDM:
    """EDM preconditioning for data of standard deviation `sigma_data`."""
    return EDM(sigma_data)
