"""The setting of the golden values (algorithms.md G5), compared at the ten digits that it prints: on VP, the step from
lam = -0.3 to 0.2 of the state 0.5, and what was predicted there, at -0.7 and at -1.0.
"""

import numpy as np

from fewstep.diffusion import VP

GRID = np.asarray(VP().time(np.array([-1.0, -0.7, -0.3, 0.2])))
ALPHA, SIGMA = VP().alpha(GRID[2]), VP().sigma(GRID[2])
STATE, PREDICTED = 0.5, np.array([0.3, 0.1, -0.2])  # newest first


def digits(value):
    return f"{float(value):.10g}"


def row_of(rows):
    """The row of the step."""
    (row,) = [row for row in rows if row.t == GRID[2]]
    return row


def after(row):
    """The mean of the state after it, with predictions of the clean image remembered."""
    now, *before = PREDICTED
    eps = (STATE - ALPHA * now) / SIGMA
    return row.x * STATE + row.x0 * now + row.eps * eps + np.dot(row.past, before[: len(row.past)])
