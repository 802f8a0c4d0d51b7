"""The weights of earlier predictions by least squares, row by row."""

import numpy as np

from fewstep.diffusion.denoiser import DenoiserLike
from fewstep.samplers.fit.numbers import Ends, Numbers, step, times
from fewstep.samplers.fit.teacher import Teacher, predictions


def least_squares(den: DenoiserLike, teacher: Teacher, ends: Ends, numbers: Numbers, ridge: float = 1e-3) -> Numbers:
    """The numbers with the weights that bring the states after each row closest to those of a teacher.

    The predictions are the fitted table's own: the errors of earlier rows are seen, and corrected.  `ridge` pulls
    towards the given weights, relative to the mean square of the regressors.
    """
    at = times(den.process, ends, numbers)
    n, weights = len(at) - 1, np.array(numbers.weights, np.float64)
    x, seen = teacher.start(at[0]), []
    for i in range(n):
        new = predictions(den, at[i], x, teacher.cond)
        ratio, gain = step(den.process, at[i], at[i + 1])
        target = np.asarray(teacher.end if i == n - 1 else teacher.at(at[i + 1]), np.float64)
        base = ratio * x + gain * new
        apart = [gain * (old - new) for old in reversed(seen)]  # newest first
        if apart:
            weights[i, :i] = _solved(apart, target - base, weights[i, :i], ridge)
        x = base + sum((w * a for w, a in zip(weights[i], apart, strict=False)), np.zeros_like(base))
        seen.append(new)
    return numbers._replace(weights=weights)


def _solved(regressors, target, start, ridge):
    """The weights of the regressors with the smallest squared error, with a pull towards `start`."""
    flat = np.stack([a.ravel() for a in regressors])
    gram, right = flat @ flat.T, flat @ target.ravel()
    pull = ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    if not np.trace(gram):
        return start
    return start + np.linalg.solve(gram + pull, right - gram @ start)
