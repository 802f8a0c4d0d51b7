"""Distances against closed forms (algorithms.md H) and independent implementations."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.special import gammaln, hyp1f1

from fewstep.evaluation.distances import DISTANCES, Frechet, Neighbours, Novelty, expected_bias, frechet

CLASSES = tuple(dict.fromkeys(DISTANCES.values()))
each_class = pytest.mark.parametrize("distance", CLASSES, ids=lambda distance: distance.__name__)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def value(name, drawn, real, training=None):
    return DISTANCES[name](real, training)(drawn)[name].value


# --- FD, FDinf


def standardised(rng, n, d):
    """Samples whose mean is exactly 0 and covariance exactly I."""
    x = rng.standard_normal((n, d))
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def longhand(a, b):
    """By the eigenvalues of the product of the covariances: it need not have a square root."""
    s, t = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(s @ t).real, 0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * root


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_frechet_of_known_moments(rng, offset):
    a, m, s = standardised(rng, 300, 6), np.linspace(0, 1, 6), 1.7
    b = m + s * standardised(rng, 200, 6)
    assert frechet(a + offset, b + offset) == pytest.approx(m @ m + 6 * (1 - s) ** 2, rel=1e-8 if offset else 1e-12)


def test_frechet_equals_scipys_square_root(rng):
    a, b = rng.standard_normal((80, 12)) @ rng.standard_normal((12, 12)), rng.standard_normal((90, 12)) + 0.3
    s, t = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(7, 9), (7, 30), (30, 7), (20, 21), (21, 20), (2, 2), (2, 30)])
def test_frechet_with_fewer_samples_than_features(rng, n, m):
    """Eigenvalues that are 0 come out as 1e-16, whose root is 1e-8: so precise the longhand is."""
    a, b = rng.standard_normal((n, 20)), rng.standard_normal((m, 20)) + 0.2
    assert frechet(a, b) == pytest.approx(longhand(a, b), rel=1e-6)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    assert 0 <= frechet(a, a) < 1e-12


def test_frechet_of_two_items_each():
    """Covariances have one eigenvalue each, 2 and 12.5; the cosine of their directions is 0.6."""
    a, b = np.array([[1.0, 2, 0], [3, 2, 0]]), np.array([[0.0, 0, 1], [3, 4, 1]])
    assert frechet(a, b) == pytest.approx(0.5**2 + 0 + 1 + 2 + 12.5 - 2 * 0.6 * np.sqrt(2 * 12.5), rel=1e-12)


@pytest.mark.parametrize("both", [True, False])
def test_frechet_of_columns_that_are_constant_or_repeated(rng, both):
    """A constant column adds its squared difference, a repeated one doubles what it is alone."""
    a, b = rng.standard_normal((60, 3)), 1.5 * rng.standard_normal((50, 3)) + 0.2
    more, less = np.hstack([a, np.full((60, 1), 0.1)]), np.hstack([b, np.full((50, 1), 0.4)])
    plain, found = Frechet(b)(a)["FD"], Frechet(less)(more)["FD"]
    assert found.value == pytest.approx(plain.value + 0.09, rel=1e-9)
    np.testing.assert_allclose(found.drawn, plain.drawn, rtol=1e-7)
    np.testing.assert_allclose(found.real, plain.real, rtol=1e-7)
    assert frechet(np.full((10, 5), 1.0), np.full((12, 5), 3.0)) == pytest.approx(20, rel=1e-12)
    a = a[:, [0, 1, 2, 2]]
    b = b[:, [0, 1, 2, 2]] if both else np.hstack([b, rng.standard_normal((50, 1))])
    assert frechet(a, b) == pytest.approx(longhand(a, b), rel=1e-6)


@pytest.mark.parametrize(("d", "trials", "error"), [(1, 3000, 0.06), (16, 300, 0.02)])
def test_expected_bias_is_what_equal_laws_score(d, trials, error):
    """To three standard errors.  In one dimension it is 1.5 (1/n + 1/m) of the variance."""
    n, m, scale = 400, 300, 1 / np.sqrt(np.arange(1, d + 1))
    found, promised = [], []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        real = scale * rng.standard_normal((m, d))
        found.append(frechet(scale * rng.standard_normal((n, d)), real))
        promised.append(expected_bias(real, n))
    assert np.mean(promised) == pytest.approx(np.mean(found), rel=error)
    assert d > 1 or np.mean(promised) == pytest.approx(1.5 * (1 / n + 1 / m), rel=0.01)


def test_fdinf_is_the_intercept_of_a_line(rng):
    drawn, real = rng.standard_normal((200, 6)), rng.standard_normal((150, 6)) + 0.2
    order = np.random.default_rng(0).permutation(200)
    sizes = np.linspace(20, 200, 15).astype(int)  # from a tenth
    values = [frechet(drawn[order[:size]], real) for size in sizes]
    assert value("FDinf", drawn, real) == pytest.approx(np.polyfit(1 / sizes, values, 1)[1], rel=1e-10)


def test_fdinf_is_nearer_the_truth():
    """|m|^2 of Gaussians; the real set is large, its own bias small."""
    d, m = 12, 0.3
    plain, line = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn, real = rng.standard_normal((300, d)) + m, rng.standard_normal((4000, d))
        plain.append(value("FD", drawn, real))
        line.append(value("FDinf", drawn, real))
    truth = d * m**2
    assert np.mean(plain) - truth > 0.1
    assert abs(np.mean(line) - truth) < (np.mean(plain) - truth) / 4


def test_fdinf_of_few_items_has_less_of_the_bias():
    """The distance of equal laws is 0, of one with 0.7 of the standard deviations 0.09 d: the FD of 125 items says the
    opposite.  FDinf would too, of a law so near as 0.9."""
    rng, d = np.random.default_rng(0), 200
    real, few = rng.standard_normal((4000, d)), rng.standard_normal((125, d))
    assert value("FD", few, real) > value("FD", 0.7 * few, real) + 10
    assert value("FDinf", few, real) < value("FDinf", 0.7 * few, real) - 3


# --- KID, energy


def poly(x, y):
    return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3


def far(x, y):
    return -(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5)


@pytest.mark.parametrize(("name", "kernel"), [("KID", poly), ("energy", far)])
def test_discrepancies_by_loops(rng, name, kernel):
    a, b = rng.standard_normal((7, 4)), rng.standard_normal((9, 4)) + 0.5
    inner = [np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    expected = sum(inner) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert value(name, a, b) == pytest.approx(expected, rel=1e-10)


def norm_of(m2, tau2, d):
    """E |z| of z ~ N(m, tau^2 I), |m|^2 = m2 (algorithms.md H6)."""
    ratio = np.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    return np.sqrt(2 * tau2) * ratio * hyp1f1(-0.5, d / 2, -m2 / (2 * tau2))


@pytest.mark.parametrize("s", [1.0, 1.4])
@pytest.mark.parametrize("name", ["KID", "energy"])
def test_discrepancies_of_gaussians_are_unbiased(name, s):
    """N(0, I) against N(m, s^2 I); of equal laws, s = 1 and m = 0, the mean is 0."""
    d, m = 5, 0.0 if s == 1 or name == "KID" else 0.4
    energy = 2 * norm_of(d * m**2, 1 + s**2, d) - norm_of(0, 2, d) - norm_of(0, 2 * s**2, d)
    expected = {"KID": 3 * (1 - s**2) ** 2 / d, "energy": energy}[name]
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        found.append(value(name, s * rng.standard_normal((100, d)) + m, rng.standard_normal((80, d))))
    assert s != 1 or expected == pytest.approx(0, abs=1e-12)
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(150)


# --- precision, recall, density, coverage


def by_loops(drawn, real, k=5):
    def distance(x, y):
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5

    def radii(points):
        return [sorted(distance(x, y) for j, y in enumerate(points) if j != i)[k - 1] for i, x in enumerate(points)]

    real_radii, drawn_radii = radii(real), radii(drawn)
    in_real = [[distance(x, y) < r for y, r in zip(real, real_radii, strict=True)] for x in drawn]
    in_drawn = [[distance(x, y) < r for x, r in zip(drawn, drawn_radii, strict=True)] for y in real]
    return {
        "precision": sum(any(row) for row in in_real) / len(drawn),
        "recall": sum(any(row) for row in in_drawn) / len(real),
        "density": sum(sum(row) for row in in_real) / (k * len(drawn)),
        "coverage": sum(any(row[i] for row in in_real) for i in range(len(real))) / len(real),
    }


@pytest.mark.parametrize(("n", "m", "shift"), [(25, 30, 0.7), (40, 12, 1.5), (6, 6, 0.2)])
def test_neighbours_by_loops(rng, n, m, shift):
    drawn, real = rng.standard_normal((n, 3)) + shift, rng.standard_normal((m, 3))
    expected = by_loops(drawn, real)
    assert {name: found.value for name, found in Neighbours(real)(drawn).items()} == pytest.approx(expected, rel=1e-12)
    assert n == 6 or all(0 < share < 1 for share in expected.values())


def test_neighbours_of_equal_and_of_disjoint_laws(rng):
    a, b = rng.standard_normal((1500, 4)), rng.standard_normal((1500, 4))
    found = Neighbours(b)(a)
    assert found["density"].value == pytest.approx(1, abs=0.06)  # three standard errors
    assert found["coverage"].value == pytest.approx(1 - 2**-5, abs=0.015)
    assert {number.value for number in Neighbours(b)(a + 100).values()} == {0.0}


def test_neighbours_of_constant_items(rng):
    """All in one ball or none; balls of their own reach nothing."""
    real = rng.standard_normal((50, 4))
    found = Neighbours(real)(np.full((20, 4), 0.1))
    assert found["precision"].value == 1
    assert found["recall"].value == 0
    assert found["coverage"].value == pytest.approx(5 * found["density"].value / 50)
    with pytest.raises(ValueError, match="neighbourhoods are empty"):
        Neighbours(np.full((20, 4), 0.1))


@pytest.mark.parametrize(("n", "m"), [(5, 20), (20, 5)])
def test_neighbours_need_more_items_than_neighbours(rng, n, m):
    with pytest.raises(ValueError, match="more than 5 items: got 5"):
        Neighbours(rng.standard_normal((m, 3)))(rng.standard_normal((n, 3)))


# --- novelty


def test_novelty_of_copies_and_of_new_items(rng):
    seen, held_out = rng.standard_normal((200, 6)) + 10, rng.standard_normal((50, 6)) + 10
    assert Novelty(held_out, seen)(seen[:30])["novelty"].value == 0
    assert Novelty(held_out, seen)(held_out)["novelty"].value == pytest.approx(1, rel=1e-12)
    nearest = [min(np.linalg.norm(x - y) for y in seen) for x in (held_out[:9] * 1.1)]
    unit = np.mean([min(np.linalg.norm(x - y) for y in seen) for x in held_out])
    assert Novelty(held_out, seen)(held_out[:9] * 1.1)["novelty"].value == pytest.approx(np.mean(nearest) / unit)


def test_novelty_has_no_measure_where_all_held_out_items_were_seen(rng):
    seen = rng.standard_normal((200, 6))
    with pytest.raises(ValueError, match="novelty is undefined"):
        Novelty(seen[50:70], seen)


# --- all of them


def test_of_a_set_and_itself(rng):
    a = rng.standard_normal((40, 5))
    expected = {"precision": 1, "recall": 1, "coverage": 1, "novelty": 1}
    for name in set(DISTANCES) - {"KID", "energy", "FDinf", "density"}:  # which are without bias
        assert value(name, a, a, a + 1) == pytest.approx(expected.get(name, 0), abs=1e-6), name
    for name in ("FD", "KID", "SW", "mind", "energy", "FDinf"):
        assert value(name, np.ones((20, 5)), np.ones((12, 5))) == pytest.approx(0, abs=1e-12), name


@each_class
def test_far_from_the_origin_is_as_at_it(rng, distance):
    """All but KID are the same for moved sets."""
    sets = [rng.standard_normal((n, 3)) + shift for n, shift in ((50, 0.4), (45, 0), (40, 0))]
    (drawn, real, seen), (far_drawn, far_real, far_seen) = sets, [a + 1e6 for a in sets]
    found = distance(far_real, far_seen)(far_drawn)
    for name, expected in distance(real, seen)(drawn).items():
        assert name == "KID" or found[name].value == pytest.approx(expected.value, rel=1e-8), name


@each_class
def test_blocks_change_nothing(rng, distance, monkeypatch):
    drawn, real, seen = (rng.standard_normal((n, 3)) for n in (50, 45, 40))
    whole = distance(real, seen)(drawn)
    for module in ("checks", "kernels"):
        monkeypatch.setattr(f"fewstep.evaluation.distances.{module}.ROWS", 7)
    for name, found in distance(real, seen)(drawn).items():
        for part, expected in zip(found, whole[name], strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-10, atol=1e-10)


@each_class
@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (np.zeros((1, 3)), "at least 2"),
        (np.arange(120.0).reshape(30, 4), "[34] and [34]"),
        (np.full((30, 3), np.nan), "finite"),
        (np.full((30, 3), np.inf), "finite"),
        (np.zeros(30), "shape"),
    ],
    ids=["one item", "other features", "NaN", "infinite", "1-D"],
)
def test_what_makes_no_sense_is_refused(rng, distance, wrong, part):
    good, seen = rng.standard_normal((30, 3)), rng.standard_normal((25, 3))
    for real, drawn in [(good, wrong), (wrong, good)]:
        with pytest.raises(ValueError, match=part):
            distance(real, seen)(drawn)
