"""Predictions of networks that others trained: told another clock, of another sign, under another process, or in the
form of consistency models.  Configs name them; importers (`fewstep.zoo`) choose them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fewstep.diffusion.arrays import AnyArray, Number, NumberT, namespace
from fewstep.diffusion.discrete import Discrete
from fewstep.diffusion.prediction import EDM, EPS, VELOCITY, Prediction
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked

Real = Annotated[float, Range(-1e6, 1e6)]


@dataclass(frozen=True)
class _Around(Prediction):
    """The base of predictions that are those of `prediction` but for one thing."""

    prediction: Prediction = EPS

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return self.prediction.target(process, t)

    def det(self, process: Process, t: Number) -> Any:
        return self.prediction.det(process, t)

    def input_scale(self, process: Process, t: Number) -> Any:
        return self.prediction.input_scale(process, t)

    def clock(self, process: Process, t: Number) -> Any:
        return self.prediction.clock(process, t)

    def decode(self, process: Process, t: Number, x: AnyArray, raw: AnyArray) -> tuple[Any, Any]:
        return self.prediction.decode(process, t, x, raw)


@checked
@dataclass(frozen=True)
class Clocked(_Around):
    """The network is told scale c + offset, with c the time t or log(sigma / alpha), and returns F, or with
    `negated` -F.

    SiT (arXiv:2401.08740), whose time is 1 - t and whose velocity points to the data: scale -1, offset 1,
    negated.
    Networks of EDM's "VP" precondition (arXiv:2206.00364, table 1): scale 999; of its "VE": of="log_noise", offset
    log(1/2), negated.  Consistency models (arXiv:2303.01469): of="log_noise", scale 250.
    """

    prediction: Prediction = VELOCITY
    of: Literal["time", "log_noise"] = "time"
    scale: Real = 1.0
    offset: Real = 0.0
    negated: bool = False

    @property
    def _sign(self) -> int:
        return -1 if self.negated else 1

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        a, b = self.prediction.target(process, t)
        return self._sign * a, self._sign * b

    def det(self, process: Process, t: Number) -> Any:
        return self._sign * self.prediction.det(process, t)

    def clock(self, process: Process, t: Number) -> Any:
        """At the ends of the process in log-SNR, where log(sigma / alpha) is finite, t is clipped as in EDM."""
        if self.of == "time":
            return self.scale * t + self.offset
        first, last = process.snr_ends
        return self.offset - self.scale * process.lam(namespace(t).clip(t, last, first))

    def encode(self, process: Process, t: Number, x0: AnyArray, eps: AnyArray) -> Any:
        return self._sign * self.prediction.encode(process, t, x0, eps)

    def decode(self, process: Process, t: Number, x: AnyArray, raw: AnyArray) -> tuple[Any, Any]:
        return self.prediction.decode(process, t, x, self._sign * raw)


@checked
@dataclass(frozen=True)
class Indexed(_Around):
    """The network is conditioned on the index of the noise level of a `Discrete` process, N t - 1 in [0, N - 1].

    `rounded` is for a network that takes whole numbers only (a table of embeddings); the noise level is then wrong
    between them.
    """

    rounded: bool = False

    def clock(self, process: Any, t: Number) -> Any:
        if not hasattr(process, "index"):
            raise UsageError(f"Indexed needs a process with noise levels, @Discrete(): got {process!r}")
        index = process.index(t)
        return namespace(index).round(index) if self.rounded else index


def indexed(prediction: Prediction = EPS, rounded: bool = False) -> Indexed:
    """`Indexed`: for a network of another library that was trained on a `Discrete` process."""
    return Indexed(prediction, rounded)


@checked
@dataclass(frozen=True)
class CM(EDM):
    """The form of consistency models (Song et al. 2023, arXiv:2303.01469, appendix C): EDM's, but D = x where
    sigma / alpha is `boundary` or less.

    With e = max(sigma - boundary alpha, 0), m^2 = e^2 + alpha^2 sigma_data^2 and n^2 = sigma^2 + alpha^2 sigma_data^2,
    D = (alpha sigma_data^2 / m^2) x + (e sigma_data / n) F(x / n, -lam / 4).
    """

    boundary: Annotated[float, Range(0, 1)] = 0.002

    def _form(self, process, t):
        """(skip, out): D = skip x + out F."""
        alpha, sigma = process.alpha(t), process.sigma(t)
        e = namespace(sigma).clip(sigma - self.boundary * alpha, 0, None)
        skip = alpha * self.sigma_data**2 / (e**2 + (alpha * self.sigma_data) ** 2)
        return skip, e * self.sigma_data / self._norm(process, t)

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        """Infinite at the boundary, where F does not matter."""
        skip, out = self._form(process, t)
        return (1 - skip * process.alpha(t)) / out, -skip * process.sigma(t) / out

    def det(self, process: Process, t: Number) -> Any:
        return -process.sigma(t) / self._form(process, t)[1]

    def decode(self, process: Process, t: Number, x: AnyArray, raw: AnyArray) -> tuple[Any, Any]:
        skip, out = self._form(process, t)
        x0 = skip * x + out * raw
        return x0, (x - process.alpha(t) * x0) / process.sigma(t)


@checked
@dataclass(frozen=True)
class Transferred(_Around):
    """A network that was trained with `prediction` under `process`, on states of another process with the same log-SNR
    (algorithms.md 0.4).

    The network sees the state and the clock of its own process.  Noise levels outside its range are clipped to it; the
    pair (x0, eps) is then moved by the smallest amount that restores alpha x0 + sigma eps = x.  Training may go on
    from there under the new process: objectives of the linear path start from what the network knows.
    """

    process: Process = Discrete()

    def _own(self, process, t):
        """The time of the network's process, and the ratio of its states to those of the other one."""
        ends = [self.process.lam(end) for end in self.process.ends]
        own = self.process.time(namespace(t).clip(process.lam(t), *ends))
        sizes = [one.alpha(at) + one.sigma(at) for one, at in ((self.process, own), (process, t))]
        return own, sizes[0] / sizes[1]

    def target(self, process: Process, t: NumberT) -> tuple[NumberT | float, NumberT | float]:
        return self.prediction.target(self.process, self._own(process, t)[0])

    def det(self, process: Process, t: Number) -> Any:
        own, ratio = self._own(process, t)
        return self.prediction.det(self.process, own) / ratio

    def input_scale(self, process: Process, t: Number) -> Any:
        own, ratio = self._own(process, t)
        return ratio * self.prediction.input_scale(self.process, own)

    def clock(self, process: Process, t: Number) -> Any:
        return self.prediction.clock(self.process, self._own(process, t)[0])

    def encode(self, process: Process, t: Number, x0: AnyArray, eps: AnyArray) -> Any:
        return self.prediction.encode(self.process, self._own(process, t)[0], x0, eps)

    def decode(self, process: Process, t: Number, x: AnyArray, raw: AnyArray) -> tuple[Any, Any]:
        own, ratio = self._own(process, t)
        x0, eps = self.prediction.decode(self.process, own, ratio * x, raw)
        alpha, sigma = process.alpha(t), process.sigma(t)
        missing = (x - alpha * x0 - sigma * eps) / (alpha**2 + sigma**2)
        return x0 + alpha * missing, eps + sigma * missing
