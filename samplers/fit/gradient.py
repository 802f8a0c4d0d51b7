"""All numbers of a table by Gauss-Newton steps through the draw.

LD3 (Tong et al. 2024, arXiv:2405.15506) fits the times by gradient, S4S (Frankel et al. 2025, arXiv:2502.17423) the
coefficients too, both by Adam.  A table has few numbers, so that the Jacobian of the images is within reach, by one
forward-mode product for each number, and ten damped Gauss-Newton steps (Levenberg 1944) go further than hundreds of
Adam.  The gradient is that of all trajectories, the curvature that of some.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.denoiser import DenoiserLike
from fewstep.samplers.fit.numbers import Ends, Numbers, packed, table, unpacked
from fewstep.samplers.fit.teacher import Teacher, distance
from fewstep.samplers.loop import replay

PART = 25  # images that are differentiated at once, which bounds the memory
DAMPING, EASED, RAISED = 1e-3, 0.2, 5.0  # at first, in mean curvatures; its factors after a success and a failure
FAILURES = 8  # dampings that are tried for a step


class Descent(NamedTuple):
    """Settings of the descent."""

    steps: int = 10
    curved: int = 50  # trajectories of which each step takes the curvature
    patience: int = 4  # steps without a smaller error of the watched trajectories, after which it ends


def descend(
    den: DenoiserLike, fitted: Teacher, watched: Teacher, ends: Ends, numbers: Numbers, how: Descent = Descent(),
    show: Callable[[int, float], None] = lambda step, error: None,
) -> tuple[Numbers, list[float]]:  # fmt: skip
    """The numbers with the smallest error on trajectories `watched`, among those after each step that lowers the mean
    squared distance of the images on `fitted`, and the errors on `watched`."""

    def away(at: np.ndarray, teacher: Teacher) -> float:
        return distance(den, table(den.process, ends, unpacked(at, n)), teacher)

    n, rng = len(numbers.shares), np.random.default_rng(0)
    form = _Form(ends, n)
    at = best = packed(numbers)
    error, damping, since = away(at, fitted), DAMPING, 0
    errors = [away(at, watched)]
    for k in range(how.steps):
        some = rng.choice(len(fitted.end), min(how.curved, len(fitted.end)), replace=False)
        slope = _total(_slope, form, den, at, fitted)
        bend = _total(_bend, form, den, at, fitted.part(some)) * (len(fitted.end) / len(some))
        mean = np.trace(bend) / len(at)
        for _ in range(FAILURES):
            moved = at - np.linalg.solve(bend + damping * mean * np.eye(len(at)), slope)
            if (lower := away(moved, fitted)) < error:
                break
            damping *= RAISED
        else:
            break
        at, error, damping = moved, lower, damping * EASED
        found = away(at, watched)
        best, since = (at, 0) if found < min(errors) else (best, since + 1)
        errors.append(found)
        show(k + 1, found)
        if since >= how.patience:
            break
    return unpacked(best, n), errors


class _Form(NamedTuple):
    """What stays: the ends, and the number of calls."""

    ends: Ends
    nfe: int


def _total(derivative, form, den, at, teacher):
    """The sum of a derivative over the trajectories, part by part, in float64."""
    dtype, total = jnp.zeros(()).dtype, 0.0
    for first in range(0, len(teacher.end), PART):
        rows = np.arange(first, first + PART)
        weight = rows < len(teacher.end)  # the last part is filled up, so that one program does
        part = teacher.part(np.minimum(rows, len(teacher.end) - 1))
        start, end = (jnp.asarray(a, dtype) for a in (part.start(form.ends.first), part.end))
        found = derivative(form, den, jnp.asarray(at, dtype), start, end, part.cond, jnp.asarray(weight, dtype))
        total = total + np.asarray(found, np.float64)
    return total


def _residual(form, den, start, end, cond, weight, at):
    """The images minus those of the trajectories, zero where they fill up."""
    images = replay(den, table(den.process, form.ends, unpacked(at, form.nfe)), start, cond)
    return (images - end) * weight.reshape(-1, *[1] * (end.ndim - 1))


@partial(jax.jit, static_argnums=0)
def _slope(form, den, at, start, end, cond, weight):
    """Half the gradient of the summed squares."""
    residual = partial(_residual, form, den, start, end, cond, weight)
    return jax.grad(lambda at: jnp.sum(residual(at) ** 2) / 2)(at)


@partial(jax.jit, static_argnums=0)
def _bend(form, den, at, start, end, cond, weight):
    """The Gauss-Newton matrix, half the second derivative without that of the images."""
    _, moved = jax.linearize(partial(_residual, form, den, start, end, cond, weight), at)
    jacobian = jax.lax.map(moved, jnp.eye(len(at), dtype=at.dtype)).reshape(len(at), -1)
    return jacobian @ jacobian.T
