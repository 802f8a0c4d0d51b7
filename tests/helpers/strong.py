"""The distance between the images of two tables on the same Brownian paths, exactly, on Gaussian data.

The output of a table is there a x + m + sum_j g_j Z_j, with Z_j the increment of the path over row j's interval at unit
variance: the integral of a step function, g_j / sqrt(length), along the path.
"""

import numpy as np

from fewstep.diffusion import oracles
from fewstep.samplers.exact import _affine

MEAN, STD = 0.2, 0.5


class Response:
    """What a table makes of its initial state and of the path, per element."""

    def __init__(self, table, process, std=STD):
        rows = list(_affine(table, oracles.gaussian(process, np.array([MEAN]), np.array([std])), 1))
        size = 1 + table.history
        after, self.mean, gains = np.eye(size)[0], 0.0, []
        for move, offset, var in reversed(rows):
            gains.append(after[0] * np.sqrt(float(var[0])))
            self.mean, after = self.mean + after @ offset[0], after @ move[0]
        self.start, gains = after[0], np.array(gains[::-1])
        there = np.isfinite(table.path[:, 0]) & (gains != 0)
        assert (gains[~there] == 0).all(), "noise of no path"
        parts, gains = np.sort(table.path[there], axis=1), gains[there]
        order = np.argsort(parts[:, 0])
        self.low, self.high = parts[order].T
        assert (self.high[:-1] <= self.low[1:]).all(), "parts overlap"
        self.height = gains[order] / np.sqrt(self.high - self.low)

    def along(self, r):
        """The step function at times r."""
        at = np.searchsorted(self.low, r, "right") - 1
        return np.where((at >= 0) & (r < self.high[at]), self.height[at], 0.0)


def apart(table, other, process, std=STD):
    """The root mean square distance of their images from the same initial states, of the prior, and paths."""
    one, two = (Response(part, process, std) for part in (table, other))
    ends = np.unique(np.concatenate([one.low, one.high, two.low, two.high]))
    middle, lengths = 0.5 * (ends[1:] + ends[:-1]), np.diff(ends)
    noise = lengths @ (one.along(middle) - two.along(middle)) ** 2
    start = process.sigma(table.t[0]) ** 2 * (one.start - two.start) ** 2
    return float(np.sqrt(noise + start + (one.mean - two.mean) ** 2))


def from_solution(table, process, end, std=STD, points=16):
    """... from those of the reverse SDE itself, dx = (u - w score) dt + sqrt(2 w) dW with 2 w = g^2, which takes a
    deviation at t to alpha_t V_s / (alpha_s V_t) of it at s, where V = alpha^2 std^2 + sigma^2."""
    found = Response(table, process, std)
    ends = np.unique(np.concatenate([found.low, found.high]))
    at, mass = np.polynomial.legendre.leggauss(points)
    lengths = np.diff(ends)
    r = (ends[:-1, None] + 0.5 * lengths[:, None] * (at + 1)).ravel()
    mass = (0.5 * lengths[:, None] * mass).ravel()

    def variance(t):
        return (process.alpha(t) * std) ** 2 + process.sigma(t) ** 2

    def carried(t):
        return process.alpha(t) * variance(end) / (process.alpha(end) * variance(t))

    kernel = np.sqrt(-2 * process.sigma(r) ** 2 * process.dlam(r)) * carried(r)
    start = carried(table.t[0])
    mean = MEAN * (process.alpha(end) - start * process.alpha(table.t[0]))
    squares = mass @ (found.along(r) - kernel) ** 2 + (process.sigma(table.t[0]) * (found.start - start)) ** 2
    return float(np.sqrt(squares + (found.mean - mean) ** 2))
