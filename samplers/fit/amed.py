"""The predictor of AMED (`samplers.amed`), trained on the trajectories of a denoiser.

Zhou et al. (2023, arXiv:2312.00094) train it step by step, each on the state of the trajectory after it.  Here the
gradient passes through the whole draw, and the loss is the mean squared distance of the images, as for tables.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fewstep.diffusion.denoiser import DenoiserLike
from fewstep.diffusion.predict import predict_shape
from fewstep.errors import UsageError
from fewstep.samplers.amed import amed, mean_direction
from fewstep.samplers.fit.fit import RANKED, Show, parted, unfitted
from fewstep.samplers.fit.teacher import Teacher, distance
from fewstep.samplers.loop import replay
from fewstep.samplers.predictor import Predictor, untrained
from fewstep.samplers.registry import Sampler
from fewstep.samplers.tableau import Tableau

STARTS = [
    Sampler(partial(amed, first=first), 2, "uniform", "", title=title)
    for first, title in (("network", "AMED"), ("analytic", "AMED with an analytic first step"))
]


class Training(NamedTuple):
    """Settings of the training."""

    form: str = "amed"  # one of FORMS
    epochs: int = 10
    batch: int = 25
    rate: float = 5e-3  # of Adam, at first; to 0 by a cosine


class Trained(NamedTuple):
    """A trained predictor with its rows."""

    table: Tableau
    last: float  # the time at which it ends
    form: str
    predictor: Predictor
    method: str  # where it began
    errors: Mapping[str, float]  # before and after, on the trajectories that decided


def train(
    den: DenoiserLike, nfe: int, teacher: Teacher, how: Training = Training(), show: Show = lambda done, note: None
) -> Trained:
    """AMED in `nfe` calls, on the grid on which it is best untrained, the first step by a call or analytic, with the
    predictor that follows the trajectories most closely.

    A quarter of the trajectories is not trained on: it decides between the grids and the epochs.  show(done, note) is
    called with the number of network calls so far.  Raises UsageError if no grid has a step of two calls.
    """
    watched, fitted = parted(teacher)
    lever = partial(mean_direction, form=how.form)
    best = predictor = untrained(_features(den, watched.part(slice(1))))
    starts = unfitted(lever(best)(den), nfe, watched.part(slice(RANKED)), STARTS)
    starts = [one for one in starts if (one[2].s < one[2].t).any()]
    if not starts:
        raise UsageError(f"no table of AMED with nfe={nfe} has a step of two calls: give more calls")
    name, _, table, last = starts[0]
    optimizer = optax.adam(optax.cosine_decay_schedule(how.rate, how.epochs * -(-len(fitted.end) // how.batch)))

    @jax.jit
    def updated(predictor, state, den, start, end, cond):
        def loss(predictor):
            return jnp.mean((replay(lever(predictor)(den), table, start, cond) - end) ** 2)

        updates, state = optimizer.update(jax.grad(loss)(predictor), state)
        return optax.apply_updates(predictor, updates), state

    state, rng = optimizer.init(predictor), np.random.default_rng(0)
    errors = [distance(lever(best)(den), table, watched)]
    for epoch in range(how.epochs):
        order = rng.permutation(-(-len(fitted.end) // how.batch) * how.batch) % len(fitted.end)
        for rows in order.reshape(-1, how.batch):
            part = fitted.part(rows)
            predictor, state = updated(predictor, state, den, part.scaled_start(table), part.end, part.cond)
        errors.append(distance(lever(predictor)(den), table, watched))
        best = predictor if errors[-1] == min(errors) else best
        show((epoch + 1) * calls_of_epoch(nfe, len(teacher.end)), f"epoch {epoch + 1}: {errors[-1]:.4g}")
    return Trained(
        table, last, how.form, jax.tree.map(np.asarray, best), name, {"unfitted": errors[0], "fitted": min(errors)}
    )


def _features(den: DenoiserLike, one: Teacher) -> int:
    """The number of features of a model's network, 0 if it has none."""
    found = predict_shape(den, jnp.asarray(one.end), jnp.float32(0.5), None, one.cond).features
    return 0 if found is None else found.shape[1]


def calls_of_epoch(nfe: int, count: int) -> int:
    """About the network calls of an epoch, in which a gradient takes as long as two more."""
    return 3 * nfe * count
