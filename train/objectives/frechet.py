"""FD-loss: the Frechet distance of features of drawn images to those of the data as the objective (Yang et al. 2026,
arXiv:2604.28190)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fewstep.diffusion.denoiser import Cond, Model
from fewstep.errors import UsageError
from fewstep.ranges import Count, Fraction, Range, check_fields
from fewstep.samplers import SAMPLERS, Tableau, table_at
from fewstep.samplers.loop import unrolled
from fewstep.samplers.registry import DEFAULT_SAMPLERS
from fewstep.samplers.start import started
from fewstep.train.data.split import Batch
from fewstep.train.objectives.objective import Objective
from fewstep.train.state import State


class Measured(NamedTuple):
    """Features, with their moments over the training images."""

    name: str
    digest: str
    apply: Callable[[Any, Array], Array]  # (params, pixels from 0 to 255, or points) -> (B, d), differentiable
    params: Any
    mean: np.ndarray  # (d,)
    covariance: np.ndarray  # (d, d)


class Seeded(NamedTuple):
    """What images are drawn from; every field has a leading batch axis."""

    seeds: Array  # (B,)
    start: Array  # (B, *shape) the initial states
    label: Array | None  # (B,)


@dataclass(frozen=True)
class Frechet(Objective):
    """The Frechet distance of features of images drawn in `nfe` calls to those of the training images, as a share of
    the variance of the latter; of several kinds of features the sum.

    features: as of `fewstep compare --features`.  learned: what the run that it starts from learned, and how its images
    are drawn: "jump" by flow_map, "zero" by consistency, "instant" by dpmpp_2m, through all calls of which the gradient
    goes.  Labels are those of the data.

    The mean and the covariance of drawn features are averages over the batches with `decay`, or those of a `queue` of
    the last ones, as if their gradient were that of this batch.  Independent noise, of `ridge` times the largest
    variance of a direction of the data's features, is added to both sides: the distance is then still 0 where they are
    equal, and its gradient is bounded where a variance vanishes.
    """

    features: str = "classifier"
    learned: Literal["jump", "zero", "instant"] = "jump"
    nfe: Annotated[int, Range(1, 100)] = 1
    decay: Fraction = 0.99
    queue: Count | None = None
    ridge: Annotated[float, Range(3e-4, 1)] = 1e-3  # below, float32 rounds the gradient away
    known: tuple[Measured, ...] = field(default=(), repr=False, compare=False)  # `features`, loaded before training

    label_drop = 0.0
    needs_images = False

    def __post_init__(self):
        check_fields(self)
        object.__setattr__(self, "capabilities", frozenset({self.learned}))

    @property
    def whole_batch(self) -> bool:
        return True

    @property
    def trained_calls(self) -> int:
        return self.nfe

    @property
    def requires(self) -> frozenset[str]:
        return self.capabilities

    @property
    def trained_features(self) -> list[list[str]]:
        return [[kind.name, kind.digest] for kind in self.known]

    def memory(self) -> dict[str, Any]:
        """The number of batches, and for each kind of features: its parameters, the data's mean and root of the
        covariance, and the moments of drawn features, or the queue of them, less that mean."""
        if not self.known:
            raise UsageError("@frechet() trains on features that `fewstep train` and train_run load: use one of them")
        found: dict[str, Any] = {"count": jnp.int32(0), "features": {}}
        for kind in self.known:
            values, vectors = np.linalg.eigh(kind.covariance)
            noise, d = self.ridge * values[-1], len(values)
            root = (vectors * np.sqrt(np.maximum(values, 0.0) + noise)) @ vectors.T
            drawn = {"queue": (self.queue, d)} if self.queue else {"mean": (d,), "second": (d, d)}
            real = {"mean": kind.mean, "root": root, "noise": noise}
            found["features"][kind.name] = {
                "params": kind.params,
                "real": {name: jnp.asarray(value, jnp.float32) for name, value in real.items()},
                "drawn": {name: jnp.zeros(shape, jnp.float32) for name, shape in drawn.items()},
            }
        return found

    def table(self, model: Model) -> Tableau:
        """The table by which images are drawn."""
        return table_at(SAMPLERS[DEFAULT_SAMPLERS[self.learned]], model.process, self.nfe)

    def draw(self, model: Model, batch: Batch, key: Array) -> Seeded:
        """batch.label (B,) or None; of batch.image (B, *shape) only the shape counts."""
        seeds = jax.random.bits(jax.random.fold_in(key, 4), (len(batch.image),), jnp.uint32)
        start = started(model.process, self.table(model), seeds, batch.image.shape[1:])
        return Seeded(seeds, start, super().draw(model, batch, key).label)

    def __call__(
        self, model: Model, params: dict, state: State, examples: Any
    ) -> tuple[Array, dict[str, Array], dict[str, Any]]:
        """-> loss (), {"frechet_pixels": the distance, ...}, the memory after this batch."""
        seeds, start, label = examples
        den, count = model.denoiser(params["net"]), state.memory["count"]
        x = unrolled(den, self.table(model), seeds, start, Cond(label))
        pixels = jnp.clip(127.5 * x + 127.5, 0.0, 255.0) if x.ndim == 4 else x
        loss, metrics, memory = jnp.float32(0.0), {}, {"count": count + 1, "features": {}}
        for kind in self.known:
            kept = state.memory["features"][kind.name]
            real, features = kept["real"], kind.apply(kept["params"], pixels) - kept["real"]["mean"]
            mean, second, drawn = self.moments(kept["drawn"], count, features)
            distance = frechet(mean, second - jnp.outer(mean, mean), real["root"], real["noise"])
            loss += distance / (real["root"] ** 2).sum()
            metrics[f"frechet_{kind.name}"] = distance
            memory["features"][kind.name] = kept | {"drawn": drawn}
        return loss, metrics, memory

    def moments(self, drawn: dict[str, Array], count: Array, features: Array) -> tuple[Array, Array, dict[str, Array]]:
        """The mean (d,) and second moment (d, d) of the population that ends with this batch of features (B, d), with
        the gradient of those of the batch, and what is kept of the population."""
        own, n = _of(features), len(features)
        if self.queue:
            if self.queue % n:
                raise UsageError(
                    f"frechet.queue = {self.queue} is not a multiple of the batch of {n}: choose another number"
                )
            first = count % (self.queue // n) * n
            queue = jax.lax.dynamic_update_slice(drawn["queue"], jax.lax.stop_gradient(features), (first, 0))
            drawn = {"queue": queue}
            filled = self.queue / jnp.minimum((count + 1) * n, self.queue)  # the other rows are zero
            population = {name: filled * value for name, value in _of(queue).items()}
        else:
            share = jnp.maximum(1 - self.decay, 1 / (count + 1))
            drawn = {name: old + share * (jax.lax.stop_gradient(own[name]) - old) for name, old in drawn.items()}
            population = drawn
        passed = {name: population[name] + value - jax.lax.stop_gradient(value) for name, value in own.items()}
        return passed["mean"], passed["second"], drawn


def _of(features):
    """The raw moments of features (B, d)."""
    second = jnp.matmul(features.T, features, precision="highest")
    return {"mean": features.mean(0), "second": second / len(features)}


def frechet(mean: Array, covariance: Array, root: Array, noise: Array | float = 0.0) -> Array:
    """The Frechet distance () of N(mean, covariance + noise I) to N(0, root^2).

    |m|^2 + tr(C + R^2) - 2 tr (R C R)^(1/2), by the eigenvalues of R C R, which are at least noise^2 up to rounding if
    those of R^2 are at least `noise`.
    """
    covariance = covariance + noise * jnp.eye(len(mean))
    product = jnp.linalg.multi_dot([root, covariance, root], precision="highest")
    values = jnp.linalg.eigvalsh((product + product.T) / 2)
    roots = jnp.sqrt(jnp.maximum(values, noise**2 / 4))
    return mean @ mean + jnp.trace(covariance) + (root**2).sum() - 2 * roots.sum()
