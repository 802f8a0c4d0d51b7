"""AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

from collections.abc import Callable

import optax

from fewstep.ranges import Count, Fraction, NonNegative, Positive, checked
from fewstep.train.optimizers.chain import chained
from fewstep.train.optimizers.schedules import Rate, Warmup, cosine_decay, warmed_up


@checked
def adamw(
    steps: Count,
    lr: Rate = 1e-3,
    warmup: Warmup = 100,
    b1: Fraction = 0.9,
    b2: Fraction = 0.99,
    weight_decay: NonNegative = 0.0,
    spectral_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = cosine_decay,
) -> optax.GradientTransformation:
    """AdamW with gradient clipping by global norm; `lr`, `warmup` and `schedule` as in `schedules.warmed_up`.

    The weight decay is for kernels: not for biases, gains and embeddings.  spectral_decay: the strength of
    `spectral.spectral_decay`.
    """
    rate = warmed_up(steps, lr, warmup, schedule)
    return chained(optax.scale_by_adam(b1=b1, b2=b2), rate, clip, weight_decay, spectral_decay)
