"""What objectives share that match the distribution of a generator's images to a teacher's, by two score networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import ZERO, Cond, Model
from fewstep.errors import UsageError
from fewstep.ranges import Range, Share
from fewstep.samplers.registry import SAMPLERS, table_at
from fewstep.samplers.start import unit_noise
from fewstep.train.data.split import Batch
from fewstep.train.objectives.denoising import Denoising, Noised, noisy, target
from fewstep.train.objectives.objective import Example
from fewstep.train.objectives.times import karras_times, logit_normal
from fewstep.train.objectives.turns import by_group, waiting
from fewstep.train.optimizers import adamw
from fewstep.train.optimizers.chain import built
from fewstep.train.state import State

LEAST = 1e-5  # distance of images by which losses are divided
SEEDS = np.arange(16, dtype=np.uint32)  # those of `diversity`: pairs of one class


class Draws(NamedTuple):
    """The random numbers of generated images, and images of the data if they are used; every field has a leading batch
    axis."""

    noise: Array  # (B, calls, *shape) of the generator
    call: Array  # (B,) the call of the generator that makes the image, from 0
    eps: Array  # (B, *shape) added to the image
    t: Array  # (B,)
    score: Example  # for the fake score, without its images
    label: Array | None  # (B,), dropped labels replaced by the null class
    key: Array  # (B,) keys for dropout
    images: Array | None = None  # (B, *shape) of the data, for objectives that use them


@dataclass(frozen=True)
class DistributionMatching(Noised):
    """The base of objectives that train a generator, the network, by comparing two denoisers of its noised images: the
    teacher, which is the initial network, and the fake score, a second network that learns to denoise them.

    The generator predicts x0 in each of the `calls` calls of the sampler `consistency`, with noise and its own earlier
    images as inputs: no image of the data is used, unless a subclass does.  `times` are those at which the denoisers
    are compared.  In every step the generator has one update, by train.optimizer, and the fake score `ratio`, at
    `score_times` by `score_optimizer`.  The reported loss is that of the fake score and of what is trained with it.
    """

    times: Callable = karras_times
    label_drop: Share = 0.0
    calls: Annotated[int, Range(1, 64)] = 1
    ratio: Annotated[int, Range(1, 1000)] = 1
    score_times: Callable = logit_normal
    score_optimizer: Callable = adamw

    capabilities = frozenset({ZERO})
    copies = ("score",)
    needs_images = False

    @property
    def needs_teacher(self) -> bool:
        return True

    @property
    def trained_calls(self) -> int:
        return self.calls

    def optimizer(
        self, made: optax.GradientTransformation, steps: int, heads: Mapping[str, int] | None = None
    ) -> optax.GradientTransformation:
        """`made` for the generator, and that of the fake score for all else."""
        net, score = super().optimizer(made, steps, heads), self.score_optimizer
        if not isinstance(score, optax.GradientTransformation):
            score = built(score, steps * self.ratio, heads) if callable(score) else None
        if not isinstance(score, optax.GradientTransformation):
            raise UsageError(
                "score_optimizer must be an optax transformation, or a function of the steps that returns one"
            )
        return by_group({"net": waiting(net) if self.ratio > 1 else net, "score": score}, rest="score")

    def draw(self, model: Model, batch: Batch, key: Array) -> Draws:
        """batch.image (B, *shape) for its shape, batch.label (B,) or None."""
        model.process.check_gaussian("distribution matching")
        drawn, (n, *shape) = super().draw(model, batch._replace(eps=None), key), batch.image.shape
        for_noise, for_score, for_eps, for_dropout = jax.random.split(jax.random.fold_in(key, 4), 4)
        score = Example(
            jnp.zeros_like(batch.image), model.process.noise(for_eps, batch.image.shape),
            self.score_times(model.process, for_score, n), drawn.label, jax.random.split(for_dropout, n),
        )  # fmt: skip
        noise = model.process.noise(for_noise, (n, self.calls, *shape))
        return Draws(noise, jnp.arange(n) % self.calls, drawn.eps, drawn.t, score, drawn.label, drawn.key)

    @property
    def further(self) -> int:
        return self.ratio - 1

    def loss_of_copies(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss () of the fake score, and what `discriminator_loss` returns."""
        fake = examples.score._replace(x0=jax.lax.stop_gradient(self.generate(model, params["net"], examples)))
        raw, features = self.score(model, params, fake)
        loss = Denoising().weighted(model, fake.t, (raw - target(model, fake)) ** 2)
        further, metrics = self.discriminator_loss(model, params, examples, features)
        return loss + further, metrics

    def score(self, model: Model, params: dict, examples: Example) -> tuple[Array, Array | None]:
        """The raw output of the fake score for noised images, (B, *shape), and its features (B, F)."""
        x, net = noisy(model, examples), params["score"]
        raw, _, features = model.with_features(net, x, examples.t, None, Cond(examples.label), examples.key)
        return raw, features

    def __call__(self, model: Model, params: dict, state: State, examples: Any) -> tuple[Array, dict[str, Array]]:
        """-> loss () of the fake score, {"apart": mean squared difference of the two denoisers, "diversity": variance
        of images of fixed seeds within their class} and those of the fake score."""
        loss, metrics = self.loss_of_copies(model, params, state, examples)
        stop, t, cond = jax.lax.stop_gradient, examples.t, Cond(examples.label)
        x = self.generate(model, params["net"], examples)
        y = model.process.alpha(over(t, x)) * x + model.process.sigma(over(t, x)) * examples.eps
        real, fake = (
            model.denoiser(stop(net))(y, t, None, cond) for net in (state.frozen["teacher"]["net"], params["score"])
        )
        value = self.match(x, real.x0, fake.x0, over(stop(self.weight(model, x, real.x0, t)), x))
        value += self.generator_loss(model, stop(params), examples.score._replace(x0=x))
        apart, varied = jnp.mean((real.x0 - fake.x0) ** 2), diversity(model, stop(params["net"]), x.shape[1:])
        return loss + value - stop(value), {"apart": apart, "diversity": varied} | metrics

    def match(self, x: Array, real: Array, fake: Array, weight: Array) -> Array:
        """The loss () of generated images x with those that the teacher and the fake score predict, (B, *shape) each,
        at noised x; weight (B, 1, ...)."""
        raise NotImplementedError

    def discriminator_loss(
        self, model: Model, params: dict, examples: Any, features: Array | None
    ) -> tuple[Array | float, dict[str, Array]]:
        """(loss (), metrics) of what is trained with the fake score on its features (B, F) of generated images: 0."""
        return 0.0, {}

    def generator_loss(self, model: Model, params: dict, generated: Example) -> Array | float:
        """A further loss () of generated images, with the parameters held fixed: 0."""
        return 0.0

    def weight(self, model: Model, x: Array, real: Array, t: Array) -> Array:
        """(B,): 1 / the mean distance of the elements of generated images from those of the teacher's."""
        return 1 / jnp.maximum(abs(x - real).reshape(len(x), -1).mean(1), LEAST)

    def generate(self, model: Model, net: Any, examples: Draws) -> Array:
        """Images (B, *shape) of the generator `net`; gradients are those of each image's last call."""
        process, cond = model.process, Cond(examples.label)
        times = table_at(SAMPLERS["consistency"], process, self.calls).t
        x, earlier = process.sigma(times[0]) * examples.noise[:, 0], model.denoiser(jax.lax.stop_gradient(net))
        for i, (t, s) in enumerate(pairwise(times), 1):
            x0 = earlier(x, jnp.full(len(x), t, x.dtype), None, cond).x0
            further = process.alpha(s) * x0 + process.sigma(s) * examples.noise[:, i]
            x = jnp.where(over(examples.call >= i, x), further, x)
        t = jnp.asarray(times, x.dtype)[examples.call]
        return model.denoiser(net)(x, t, None, cond, examples.key).x0


def diversity(model: Model, net: Any, shape: tuple) -> Array:
    """The variance of an element () of images of one call within a class, from pairs of images of the seeds SEEDS."""
    start = model.process.ends[0]
    x = model.process.sigma(start) * unit_noise(SEEDS, shape)
    label = jnp.asarray(SEEDS // 2 % model.classes, jnp.int32) if model.classes else None
    x0 = model.denoiser(net)(x, jnp.full(len(SEEDS), start, x.dtype), None, Cond(label)).x0
    return jnp.mean((x0[::2] - x0[1::2]) ** 2) / 2
