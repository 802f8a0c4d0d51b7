"""The Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, arXiv:1706.08500)."""

import numpy as np
from numpy.typing import ArrayLike

from fewstep.errors import UsageError
from fewstep.evaluation.distances.checks import checked
from fewstep.evaluation.estimate import Estimate, estimate

SIZES = 15  # number of subset sizes from which FDinf extrapolates
ZERO = 1e-10  # singular values below this fraction of the largest are rounding errors


class Moments:
    """The mean of features (N, d), the centered features over sqrt(N - 1), and a root R (r, d) of the covariance R^T R,
    which for N <= d is the centered features."""

    def __init__(self, features: np.ndarray):
        self.mean = features.mean(0)
        self.centred = (features - self.mean) / np.sqrt(len(features) - 1)
        self.root = self.centred
        if len(features) > features.shape[1]:
            values, vectors = np.linalg.eigh(self.centred.T @ self.centred)
            self.root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


class Frechet:
    """FD: |m_a - m_b|^2 + tr(S_a + S_b) - 2 tr (S_a S_b)^(1/2), covariances over n - 1.

    tr (S_a S_b)^(1/2) is the sum of the singular values s_k of A B^T for any roots S = A^T A.  With the centered
    features as roots this is exact even for fewer samples than features.  Its derivative by the weight of sample i is
    N/2 sum_k s_k u_ki^2, with singular vectors u_k, which needs no inverse.
    """

    names = ("FD",)
    least = 2  # drawn or real items, at least

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None):
        self.real = checked(real)
        self.moments = Moments(self.real)

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"FD": distance}."""
        return {"FD": self.of(checked(drawn, self.real))}

    def of(self, drawn: np.ndarray) -> Estimate:
        """The distance of features that are validated already."""
        a, b = Moments(drawn), self.moments
        left, s, right = np.linalg.svd(a.root @ b.root.T, full_matrices=False)
        shift = a.mean - b.mean
        value = shift @ shift + (a.root**2).sum() + (b.root**2).sum() - 2 * s.sum()
        kept = s > ZERO * max(s[0], 1e-300)
        left, s, right = left[:, kept], s[kept], right[kept].T
        return estimate(
            max(value, 0.0),
            _influence(a, shift, b.root.T @ right, s),
            _influence(b, -shift, a.root.T @ left, s),
        )


def _influence(a, shift, vectors, s):
    """The influence of each item of a set, by s_k u_ki = (centred vectors)_ik."""
    n = len(a.centred)
    cross = ((a.centred @ vectors) ** 2 / s).sum(1)
    return 2 * np.sqrt(n - 1) * (a.centred @ shift) + n * (a.centred**2).sum(1) - n * cross


class Extrapolated:
    """FDinf: the Frechet distance extrapolated to infinitely many drawn items, by a linear fit in 1/n to its values at
    SIZES sizes n up to N of one permutation (Chong & Forsyth 2020, arXiv:1911.07023).

    The bias of the finite real set remains.  The smallest size is N / 10, or min(2 d, N / 2) if that is larger: for
    smaller sets the bias is not linear in 1/n.
    """

    names = ("FDinf",)
    least = 20

    def __init__(self, real: ArrayLike, training: ArrayLike | None = None):
        self.frechet = Frechet(real)

    def __call__(self, drawn: ArrayLike) -> dict[str, Estimate]:
        """drawn (N, d) -> {"FDinf": the intercept of the fit}."""
        drawn = checked(drawn, self.frechet.real)
        n, d = drawn.shape
        if n < self.least:
            raise UsageError(f"FDinf needs at least {self.least} drawn items: got {n}")
        order = np.random.default_rng(0).permutation(n)
        sizes = np.linspace(max(n // 10, min(2 * d, n // 2), 2), n, SIZES).astype(int)
        line = np.stack([np.ones(SIZES), 1 / sizes], 1)
        weights = np.linalg.pinv(line)[0]  # the intercept is a linear function of the values
        value, influence, real = 0.0, np.zeros(n), np.zeros(len(self.frechet.real))
        for size, weight in zip(sizes, weights, strict=True):
            found = self.frechet.of(drawn[order[:size]])
            value += weight * found.value
            influence[order[:size]] += weight * found.drawn * n / size
            real += weight * found.real
        return {"FDinf": estimate(value, influence, real)}


def frechet(a: ArrayLike, b: ArrayLike) -> float:
    """The Frechet distance of two sets of features (N, d) and (M, d)."""
    return Frechet(b)(a)["FD"].value


def expected_bias(real: ArrayLike, count: int) -> float:
    """The expected FD of `count` items from the distribution of `real` (M, d), if that is Gaussian, to first order in
    1/count + 1/M: the sampling error of the mean and the covariance alone (algorithms.md H1).

    It underestimates, by a fifth if count equals the number of features, and by less than 5 % from three times that.
    A change E of a covariance with eigenvalues l adds 1/2 sum_ij E_ij^2 / (l_i + l_j), and a Wishart matrix has
    E_ij^2 = l_i l_j / count, twice that on the diagonal.
    """
    real = checked(real)
    centred = Moments(real).centred
    few = centred if len(centred) < centred.shape[1] else centred.T  # the smaller product has the same eigenvalues
    values = np.maximum(np.linalg.eigvalsh(few @ few.T), 0.0)
    values = values[values > ZERO * max(values[-1], 1e-300)]
    pairs = np.multiply.outer(values, values) / np.add.outer(values, values)
    return float((1 / count + 1 / len(real)) * (1.25 * values.sum() + pairs.sum() / 2))
