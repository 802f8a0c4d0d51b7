"""What a network's raw output means: a linear target F = A x0 + B eps, decoded by one formula for every kind.

With x = alpha x0 + sigma eps and det = alpha B - sigma A,

    x0 = (B x - sigma F) / det        eps = (alpha F - A x) / det.

det is bounded away from zero for v, velocity (linear path) and EDM outputs, which therefore never divide by alpha or
sigma; x0-outputs divide by sigma, eps- and score-outputs by alpha: where alpha = 0 they say nothing about x0.
"""

from dataclasses import dataclass

from fewstep.diffusion.arrays import namespace
from fewstep.diffusion.errors import UsageError


@dataclass(frozen=True)
class Prediction:
    """The base of the family: subclasses give (A, B), and may scale the network's input or change its clock."""

    def target(self, process, t):
        """(A, B) of the target A x0 + B eps at time t."""
        raise NotImplementedError

    def det(self, process, t):
        """alpha B - sigma A; 0 where the target does not tell x0 from eps."""
        a, b = self.target(process, t)
        return process.alpha(t) * b - process.sigma(t) * a

    def input_scale(self, process, t):
        """What x is multiplied by before the network sees it."""
        return 1.0

    def clock(self, process, t):
        """The time as the network is told it."""
        return t

    def encode(self, process, t, x0, eps):
        """The raw output that a perfect network would give for this pair; t broadcasts against x0."""
        a, b = self.target(process, t)
        return a * x0 + b * eps

    def decode(self, process, t, x, raw):
        """(x0, eps) from the raw output at (x, t); t broadcasts against x."""
        (a, b), det = self.target(process, t), self.det(process, t)
        return (b * x - process.sigma(t) * raw) / det, (process.alpha(t) * raw - a * x) / det


class _X0(Prediction):
    """The clean image."""

    def target(self, process, t):
        return 1.0, 0.0


class _Eps(Prediction):
    """The noise (Ho et al. 2020, arXiv:2006.11239)."""

    def target(self, process, t):
        return 0.0, 1.0


class _V(Prediction):
    """v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512)."""

    def target(self, process, t):
        return -process.sigma(t), process.alpha(t)


class _Velocity(Prediction):
    """u = alpha' x0 + sigma' eps, the drift of the probability-flow ODE (arXiv:2209.03003)."""

    def target(self, process, t):
        return process.dalpha(t), process.dsigma(t)


class _Score(Prediction):
    """The gradient of log p_t(x), which is -eps / sigma (arXiv:2011.13456)."""

    def target(self, process, t):
        return 0.0, -1 / process.sigma(t)


X0, EPS, V, VELOCITY, SCORE = _X0(), _Eps(), _V(), _Velocity(), _Score()


@dataclass(frozen=True)
class EDM(Prediction):
    """The preconditioned F of Karras et al. 2022 (arXiv:2206.00364, table 1) for data of standard deviation sigma_data.

    Stated for x = alpha x0 + sigma eps of any process; with n^2 = sigma^2 + alpha^2 sigma_data^2,
    D = (alpha sigma_data^2 / n^2) x + (sigma sigma_data / n) F(x / n, -lam / 4), which is the table's row where
    alpha = 1 and stays finite where alpha = 0.
    """

    sigma_data: float = 0.5

    def __post_init__(self):
        if not self.sigma_data > 0:
            raise UsageError(f"edm needs sigma_data > 0, the standard deviation of the data: got {self.sigma_data}")

    def _norm(self, process, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return namespace(alpha, sigma).sqrt(sigma**2 + (alpha * self.sigma_data) ** 2)

    def target(self, process, t):
        n = self._norm(process, t)
        return process.sigma(t) / (self.sigma_data * n), -process.alpha(t) * self.sigma_data / n

    def input_scale(self, process, t):
        return 1 / self._norm(process, t)

    def clock(self, process, t):
        """c_noise = log(sigma/alpha) / 4, of t held between the process's finite ends in log-SNR: in training and in
        sampling alike, so that a start from alpha = 0 asks for nothing that was not learned."""
        first, last = process.snr_ends
        return -process.lam(namespace(t).clip(t, last, first)) / 4


def edm(sigma_data=0.5):
    """EDM preconditioning."""
    return EDM(sigma_data)


@dataclass(frozen=True)
class Indexed(Prediction):
    """Another prediction, by a network that is told the index of its noise level in place of the time."""

    prediction: Prediction = EPS
    rounded: bool = False

    def target(self, process, t):
        return self.prediction.target(process, t)

    def input_scale(self, process, t):
        return self.prediction.input_scale(process, t)

    def clock(self, process, t):
        index = process.index(t)
        return namespace(index).round(index) if self.rounded else index


def indexed(prediction=EPS, rounded=False):
    """For a network of another library that was trained on a `Discrete` process: it is told N t - 1, from 0 to N - 1.

    `rounded` for a network that knows whole numbers only (a table of embeddings), at the price of a wrong noise level
    between them.
    """
    return Indexed(prediction, rounded)
