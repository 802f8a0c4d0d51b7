"""Adams-Bashforth and Runge-Kutta methods in noise form: against the papers' own loops, and what holds of all."""

from itertools import pairwise

import numpy as np
import pytest
from checks import INSIDE, MIXTURE, assert_same, inside

from fewstep.diffusion import VE, VP, oracles
from fewstep.samplers import SAMPLERS, ddim, exact, heun, tabulate
from fewstep.samplers.adams import deis, ipndm, ipndm_v, lms, plms, pndm
from fewstep.samplers.exponential import exponential_ab
from fewstep.samplers.integrals import weights
from fewstep.samplers.runge_kutta import rho_rk2, rho_rk3, rho_rk4

GRID = INSIDE["vp"]


def at_levels(process, levels):
    return np.asarray(process.time(-np.log(np.asarray(levels))))


@inside
def test_one_point_is_ddim(process, grid):
    for rows in (deis(process, grid, 1), deis(process, grid, 1, "rho"), ipndm(process, grid, 1), lms(process, grid, 1)):
        assert_same(rows, ddim(process, grid), process)


@inside
def test_one_method_under_several_names(process, grid):
    off = {"lower_final": False}
    assert_same(deis(process, grid, 3, "lambda", **off), exponential_ab(process, grid, 3, "noise", **off), process)
    assert_same(lms(process, grid), ipndm_v(process, grid), process)
    assert_same(lms(process, grid), deis(process, grid, 4, "rho", **off), process)


def test_on_equal_steps_in_sigma_both_ipndm_are_one():
    grid = at_levels(VE(), np.linspace(8.0, 1.0, 12))
    assert_same(ipndm(VE(), grid), ipndm_v(VE(), grid), VE())


@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_equal_weights_have_full_order_on_equal_steps_alone(points):
    """History at the start: the exact solution's, as a first-order start hides what follows."""
    process = VP()
    den = oracles.gaussian(process, 0.0, 0.5)
    errors = []
    for steps in (40, 80):
        levels = np.linspace(4.0, 0.5, steps + 1)
        times = at_levels(process, levels)
        scale = np.sqrt(0.25 * process.alpha(times) ** 2 + process.sigma(times) ** 2)  # the flow keeps x / std
        exacts = [den(np.array([[a]]), t).eps[0, 0] for a, t in zip(scale, times, strict=True)]
        x, memory = scale[points - 1], exacts[: points - 1][::-1]
        rows = list(ipndm(process, times, points))[points - 1 :]
        for row in rows:
            pred = den(np.array([[x]]), row.t)
            x = row.x0 * pred.x0[0, 0] + row.eps * pred.eps[0, 0] + np.dot(row.past, memory[: len(row.past)])
            memory = [pred.eps[0, 0], *memory]
        errors.append(abs(x - scale[-1]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(points, abs=0.3)


@pytest.mark.parametrize("basis", ["t", "rho", "lambda"])
@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_deis_orders(points, basis):
    found = exact.order(SAMPLERS["deis"], VP(), points, steps=320, points=points, basis=basis)
    assert found == pytest.approx(points, abs=0.3)


def test_golden_rho_ab_weights():
    """algorithms.md G5: three points, the step from lam = -0.3 to 0.2 after -0.7 and -1.0, as shares of the step."""
    process = VP()
    times = np.asarray(process.time(np.array([-1.0, -0.7, -0.3, 0.2])))
    row = list(deis(process, times, 3, "rho", lower_final=False))[2]
    level = np.exp(-process.lam(times[2:]))
    move = process.alpha(times[3]) * (level[1] - level[0])
    shares = np.array(row.past) / move
    assert [f"{w:.10g}" for w in (1 - shares.sum(), *shares)] == ["1.697579731", "-0.9779867367", "0.2804070054"]


def transfer(process, x, e, t, s):
    level = {u: process.sigma(u) / process.alpha(u) for u in (t, s)}
    return process.alpha(s) * (x / process.alpha(t) + (level[s] - level[t]) * e)


def pseudo(process, grid, den, x, start):
    """PNDM in its own letters: e of the steps' beginnings, newest first."""
    history = []
    for i, (t, s) in enumerate(pairwise(grid.tolist())):
        e = den(x, t).eps
        if start == "improved Euler" and i == 0:
            combined = 0.5 * (e + den(transfer(process, x, e, t, s), s).eps)
        elif start == "Runge-Kutta" and i < 3:
            m = 0.5 * (t + s)
            two = den(transfer(process, x, e, t, m), m).eps
            three = den(transfer(process, x, two, t, m), m).eps
            four = den(transfer(process, x, three, t, s), s).eps
            combined = (e + 2 * two + 2 * three + four) / 6
        else:
            known = [e, *history][:4]
            weights = {2: [3, -1], 3: [23, -16, 5], 4: [55, -59, 37, -9]}[len(known)]
            combined = sum(w * k for w, k in zip(weights, known, strict=True)) / {2: 2, 3: 12, 4: 24}[len(known)]
        history = [e, *history]
        x = transfer(process, x, combined, t, s)
    return x


@pytest.mark.parametrize(("sampler", "start"), [(plms, "improved Euler"), (pndm, "Runge-Kutta")])
def test_the_published_loop(sampler, start):
    process = VP()
    den = oracles.mixture(process, *MIXTURE)
    x = np.linspace(-2, 2, 7)[:, None]
    got = exact.follow(tabulate(sampler(process, GRID)), den, x)
    np.testing.assert_allclose(got, pseudo(process, GRID, den, x, start), rtol=1e-10, atol=1e-10)


LEVELS = np.geomspace(5.0, 0.1, 6)  # of a grid on VE


def kutta(slope, x, a, b):
    h, one = b - a, slope(x, a)
    two = slope(x + 0.5 * h * one, a + 0.5 * h)
    three = slope(x + h * (2 * two - one), b)
    return x + h * (one + 4 * two + three) / 6


def classical(slope, x, a, b):
    h, one = b - a, slope(x, a)
    two = slope(x + 0.5 * h * one, a + 0.5 * h)
    three = slope(x + 0.5 * h * two, a + 0.5 * h)
    return x + h * (one + 2 * two + 2 * three + slope(x + h * three, b)) / 6


@pytest.mark.parametrize(("sampler", "step"), [(rho_rk3, kutta), (rho_rk4, classical)])
def test_runge_kutta_in_its_own_letters(sampler, step):
    """d x / d sigma = eps on VE."""
    process = VE()
    den = oracles.mixture(process, *MIXTURE)
    x = start = np.linspace(-2, 2, 7)[:, None]
    for a, b in pairwise(LEVELS):
        x = step(lambda x, sigma: den(x, sigma / 80.0).eps, x, a, b)
    got = exact.follow(tabulate(sampler(process, at_levels(process, LEVELS))), den, start)
    np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-11)


def test_second_order_runge_kutta_by_its_node():
    """Heun's method at 1; EDM's algorithm 3 at another, in sigma."""
    process = VE()
    grid = at_levels(process, LEVELS)
    assert_same(rho_rk2(process, grid), heun(process, grid), process)
    den = oracles.mixture(process, *MIXTURE)
    for node in (0.5, 2 / 3, 0.9):
        x = start = np.linspace(-2, 2, 7)[:, None]
        for now, then in pairwise(80.0 * grid):
            h, middle = then - now, now + node * (then - now)
            d = (x - den(x, now / 80).x0) / now
            inner = x + node * h * d
            slope = (inner - den(inner, middle / 80).x0) / middle
            x = x + h * ((1 - 1 / (2 * node)) * d + 1 / (2 * node) * slope)
        got = exact.follow(tabulate(rho_rk2(process, grid, node)), den, start)
        np.testing.assert_allclose(got, x, rtol=1e-10, atol=1e-11)
    with pytest.raises(ValueError, match=r"rho_rk2\.node is a number in"):
        rho_rk2(process, grid, 0.0)


def published_three_points(h, h1, h2):
    """Weights of the closed form in circulation for iPNDM_v with three points, its bracket misplaced."""
    lean = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2
    return np.array([1 + h / (2 * h1) + lean, -h / (2 * h1) - (1 + h1 / h2) * lean, lean * h1 / h2])


@pytest.mark.parametrize("published", [False, True], ids=["exact", "published"])
def test_the_published_variable_steps_lose_an_order_where_lengths_alternate(published):
    """On a Gaussian, whose flow keeps x / std, with exact history; both agree on equal steps."""
    errors, var = [], 0.25
    assert published_three_points(1, 1, 1) == pytest.approx(weights([0.0, -1.0, -2.0], 0.0, 1.0))
    for count in (100, 200):
        levels = 4.0 - np.cumsum([0.0, *np.tile([1.3, 0.7], count // 2)]) * 3.5 / count
        std = np.sqrt(var + levels**2)
        slope = levels / std**2  # of x by sigma, per unit of x
        x, past = std[2], [slope[1] * std[1], slope[0] * std[0]]
        for i in range(2, count):
            h, h1, h2 = (levels[i + 1 - k] - levels[i - k] for k in range(3))
            known = [slope[i] * x, *past]
            found = weights([0.0, -h1, -h1 - h2], 0.0, h) / h
            x = x + h * np.dot(published_three_points(h, h1, h2) if published else found, known)
            past = known[:2]
        errors.append(abs(x - std[-1]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2 if published else 3, abs=0.3)


def test_an_unknown_basis():
    with pytest.raises(ValueError, match=r"deis.basis is 't', 'rho', 'lambda', not 'x'"):
        list(deis(VP(), GRID, basis="x"))
