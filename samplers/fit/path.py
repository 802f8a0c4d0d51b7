"""The path of a grid through the times of a teacher with the smallest errors of single steps, by dynamic programming
(GITS: Chen et al. 2024, arXiv:2405.11326)."""

import numpy as np

from fewstep.samplers.fit.numbers import step
from fewstep.samplers.fit.teacher import Teacher

IMAGES = 16  # whose errors are computed at once, which bounds the memory


def step_errors(teacher: Teacher, last: float) -> np.ndarray:
    """The root mean square errors of one step from each time of a teacher to each later one, the end `last` included:
    (M, M + 1), inf for others.  It takes no network call: both predictions and states are the teacher's."""
    at, m = np.append(teacher.times, last), len(teacher.times)
    squares = np.where(np.triu(np.ones((m, m + 1)), 1) > 0, 0.0, np.inf)
    for first in range(0, len(teacher.end), IMAGES):
        part = slice(first, first + IMAGES)
        x, x0 = (np.asarray(a[:, part], np.float64).reshape(m, -1) for a in (teacher.x, teacher.x0))
        after = np.vstack([x, teacher.end[part].reshape(-1)])
        for i in range(m):
            ratio, gain = step(teacher.process, at[i], at[i + 1 :])
            moved = ratio[:, None] * x[i] + gain[:, None] * x0[i]
            squares[i, i + 1 :] += np.sum((moved - after[i + 1 :]) ** 2, axis=1)
    return np.sqrt(squares / teacher.end.size)


def shortest(cost: np.ndarray, steps: int, later: float = 1.15) -> np.ndarray:
    """The indices (steps + 1,) of the path from the first time to the end with the smallest sum of errors, where that
    of each step counts `later` times as much as that of the step before it (kappa of GITS)."""
    m = cost.shape[0]
    best = cost[:, m]  # of the steps from each time to the end
    choices = []
    for _ in range(steps - 1):
        total = cost[:, :m] + later * best
        choices.append(total.argmin(1))
        best = total.min(1)
    at = [0]
    for choice in reversed(choices):
        at.append(int(choice[at[-1]]))
    return np.array([*at, m])


def shortest_path(teacher: Teacher, last: float, steps: int) -> np.ndarray:
    """The times (steps + 1,) of the path with the smallest errors."""
    return np.append(teacher.times, last)[shortest(step_errors(teacher, last), steps)]
