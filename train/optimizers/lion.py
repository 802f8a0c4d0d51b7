"""Lion (Chen et al. 2023, arXiv:2302.06675)."""

from collections.abc import Callable

import optax

from fewstep.ranges import Count, Fraction, NonNegative, Positive, checked
from fewstep.train.optimizers.chain import chained
from fewstep.train.optimizers.schedules import Rate, Warmup, cosine_decay, warmed_up


@checked
def lion(
    steps: Count,
    lr: Rate = 2e-4,
    warmup: Warmup = 100,
    b1: Fraction = 0.9,
    b2: Fraction = 0.99,
    weight_decay: NonNegative = 0.0,
    spectral_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = cosine_decay,
) -> optax.GradientTransformation:
    """The sign of b1 m + (1 - b1) g, where m is the average of gradients g with decay b2; one buffer.

    A step moves every parameter by the learning rate, so that it is 3 to 10 times lower than AdamW's, and the weight
    decay as much higher.  The other arguments as for `adamw`.
    """
    rate = warmed_up(steps, lr, warmup, schedule)
    return chained(optax.scale_by_lion(b1=b1, b2=b2), rate, clip, weight_decay, spectral_decay)
