"""Muon: orthogonalized momentum for hidden matrices (Jordan 2024, kellerjordan.github.io/posts/muon)."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from fewstep.ranges import Count, Fraction, NonNegative, Positive, Range, checked
from fewstep.train.optimizers.chain import chained, partitioned
from fewstep.train.optimizers.kinds import KERNEL, kind, name_of
from fewstep.train.optimizers.schedules import Rate, Warmup, cosine_decay, warmed_up

RMS = 0.2  # of an update: about that of AdamW's, so that one learning rate fits both (Liu et al. 2025)
OUTER = ("stem", "head", "conditioning")  # the parts of our networks before and after the hidden layers


@checked
def muon(
    steps: Count,
    lr: Rate = 1e-3,
    warmup: Warmup = 100,
    momentum: Fraction = 0.95,
    iterations: Annotated[int, Range(1, 100)] = 5,
    b1: Fraction = 0.9,
    b2: Fraction = 0.99,
    weight_decay: NonNegative = 0.0,
    spectral_decay: NonNegative = 0.0,
    clip: Positive = 1.0,
    schedule: Callable = cosine_decay,
    outer: tuple[str, ...] = OUTER,
    heads: Mapping[str, int] | None = None,
) -> optax.GradientTransformation:
    """Muon for the hidden kernels, and AdamW with b1 and b2 for the others.

    A hidden kernel is one without a name of `outer` in its path: not of the first and last layers, nor of the embedding
    of time and class.  A convolution is one matrix (height * width * inputs, outputs).  The Nesterov momentum of its
    gradients is orthogonalized by Newton-Schulz iterations and scaled to an RMS of 0.2, 0.2 sqrt(max(rows, columns)) O
    (Liu et al. 2025, arXiv:2502.16982).  heads: {name of a kernel below the group: its number of heads} of attentions
    that compute queries, keys and values by one kernel, which is then three matrices; an `Experiment` fills it in.
    The other arguments as for `adamw`.
    """
    fused = heads or {}

    def hidden(path, a):
        parts = name_of(path).split(".")
        last = parts[-2:-1] == ["variance"]  # a second output that is one layer
        return kind(path, a) == KERNEL and not last and not {*parts} & {*outer}

    def orthogonal(updates, params):
        return jax.tree_util.tree_map_with_path(
            lambda path, u: orthogonalized(u, iterations, fused.get(name_of(path[1:]), 0)), updates
        )

    matrices = optax.chain(optax.trace(momentum, nesterov=True), optax.stateless(orthogonal))
    direction = partitioned(
        {"muon": matrices, "adam": optax.scale_by_adam(b1=b1, b2=b2)},
        lambda path, a: "muon" if hidden(path, a) else "adam",
        rest="adam",
    )
    return chained(direction, warmed_up(steps, lr, warmup, schedule), clip, weight_decay, spectral_decay)


def orthogonalized(kernel: jax.Array, iterations: int = 5, heads: int = 0) -> jax.Array:
    """A kernel (..., inputs, outputs) as a matrix whose singular values are near 1, scaled to an RMS of about 0.2.

    With `heads`, its outputs are (heads, 3, size): three matrices.
    """
    view = kernel.reshape(-1, heads, 3, kernel.shape[-1] // (3 * heads)) if heads else kernel
    outputs = (1, 3) if heads else (kernel.ndim - 1,)
    inputs = (0,) if heads else tuple(range(kernel.ndim - 1))
    axes: Any = {"": MuonDimensionNumbers(inputs, outputs)}
    # Without momentum, optax's Muon is the iterations alone, and has no state to keep.
    newton_schulz = scale_by_muon(ns_steps=iterations, beta=0.0, nesterov=False, weight_dimension_numbers=axes)
    found: Any = newton_schulz.update({"": view}, newton_schulz.init({"": view}))[0]
    rows, columns = (math.prod(view.shape[axis] for axis in side) for side in (inputs, outputs))
    return RMS * math.sqrt(max(rows, columns)) * found[""].reshape(kernel.shape)
