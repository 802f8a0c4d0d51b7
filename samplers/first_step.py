"""The analytical first step: where the noise hides the data, the network need not be asked for it."""

import numpy as np

from samplers.tableau import Tableau


def analytical_first_step(table: Tableau, process) -> Tableau:
    """The table without its first call, in which eps is taken to be x / sqrt(alpha^2 + sigma^2) (Zhou et al. 2023,
    arXiv:2312.00094), what a network answers to data of unit variance as sigma / alpha grows; x0 follows from it, and
    is 0 from alpha = 0.

    The first state is then a multiple of the initial noise: it becomes the start of the table.  A row after it that
    remembers the first call finds that in its own state, the next ones cannot: ValueError for methods of three points
    and more, for tables of one row, and for a first row with noise.
    """
    if table.nfe < 2 or table.noise[0] or table.spread[0]:
        raise ValueError("an analytical first step replaces the first of several rows, one without noise")
    if np.any([table.past[i, i - 1] for i in range(2, min(table.nfe, table.history + 1))]):
        raise ValueError("an analytical first step is for methods that remember one call: here rows after the next do")
    t = float(table.t[0])
    alpha, sigma = process.alpha(t), process.sigma(t)
    eps = 1 / np.hypot(alpha, sigma)
    x0 = (1 - sigma * eps) / alpha if alpha > 0 else 0.0
    scale = table.x[0] + table.x0[0] * x0 + table.eps[0] * eps
    start = scale * (sigma if np.isnan(table.start) else table.start)
    rest = table._replace(**{name: getattr(table, name)[1:] for name in Tableau._fields if name != "start"})
    x, past = rest.x.copy(), rest.past.copy()
    if table.history:
        x[0] += past[0, 0] * (table.keep[0] @ [x0, eps]) / scale
        past[0, 0] = 0.0
    return rest._replace(x=x, past=past, start=np.float64(start))
