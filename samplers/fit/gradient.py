"""All numbers of a table by gradient through the draw (LD3: Tong et al. 2024, arXiv:2405.15506, for the times; S4S:
Frankel et al. 2025, arXiv:2502.17423, for the coefficients too)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fewstep.diffusion.denoiser import DenoiserLike
from fewstep.samplers.fit.numbers import Ends, Numbers, table
from fewstep.samplers.fit.teacher import Teacher, distance
from fewstep.samplers.loop import replay


class Descent(NamedTuple):
    """Settings of the descent."""

    steps: int = 200
    batch: int = 20
    lr: float = 1e-2
    every: int = 20  # steps between looks at the trajectories that are not fitted on
    patience: int = 5  # looks without a smaller error, after which it ends


def descend(
    den: DenoiserLike, fitted: Teacher, watched: Teacher, ends: Ends, numbers: Numbers, how: Descent = Descent(),
    show: Callable[[int, float], None] = lambda step, error: None,
) -> tuple[Numbers, list[float]]:  # fmt: skip
    """The numbers with the smallest error on trajectories `watched`, among those on the way of Adam on `fitted`, and
    the errors at each look.  The loss is the mean squared distance of the images."""
    dtype = jnp.zeros(()).dtype
    free = jax.tree.map(lambda a: jnp.asarray(a, dtype), numbers)
    schedule = optax.cosine_decay_schedule(how.lr, max(how.steps, 1))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))
    state, rng = optimizer.init(free), np.random.default_rng(0)
    scale = float(np.mean(np.square(fitted.end - fitted.end.mean(0)))) or 1.0
    seen = jnp.asarray(fitted.start(ends.first), dtype), jnp.asarray(fitted.end, dtype), fitted.cond
    step = jax.jit(partial(_step, optimizer, ends, scale))
    best, errors, since = numbers, [distance(den, table(den.process, ends, numbers), watched)], 0
    for k in range(how.steps):
        rows = rng.choice(len(fitted.end), min(how.batch, len(fitted.end)), replace=False)
        free, state = step(den, free, state, *jax.tree.map(lambda a, rows=rows: a[rows], seen))
        if (k + 1) % how.every and k + 1 < how.steps:
            continue
        now = jax.tree.map(lambda a: np.asarray(a, np.float64), free)
        error = distance(den, table(den.process, ends, now), watched)
        best, since = (now, 0) if error < min(errors) else (best, since + 1)
        errors.append(error)
        show(k + 1, error)
        if since >= how.patience or not np.isfinite(error):
            break
    return best, errors


def _step(optimizer, ends, scale, den, free, state, starts, wanted, cond):
    def loss(free):
        images = replay(den, table(den.process, ends, free), starts, cond)
        return jnp.mean((images - wanted) ** 2) / scale

    change, state = optimizer.update(jax.grad(loss)(free), state, free)
    return optax.apply_updates(free, change), state
