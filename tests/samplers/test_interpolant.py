"""The SDEs of interpolants against Euler, Heun, and SiT's step written out."""

import numpy as np
import pytest
from checks import assert_same, check_marginal, inside

from fewstep.diffusion import VE, VP, Linear
from fewstep.samplers import ddim, euler, euler_maruyama, exact, heun, reduced, tabulate, uniform
from fewstep.samplers.euler import classical
from fewstep.samplers.interpolant import NOISES, interpolant_sde, proportional
from fewstep.samplers.steps import steps
from fewstep.samplers.tableau import Row


@inside
def test_without_noise_it_is_euler_and_heun(process, grid):
    assert_same(interpolant_sde(process, grid, scale=0.0), euler(process, grid), process)
    assert_same(interpolant_sde(process, grid, scale=0.0, method="heun"), heun(process, grid), process)


@inside
def test_euler_is_euler_maruyama(process, grid):
    def doubled(process, t):
        return 2 * proportional(process, t)

    assert_same(interpolant_sde(process, grid, scale=2.0), euler_maruyama(process, grid, doubled), process)


@inside
def test_heun_adds_its_noise_first(process, grid):
    """SiT: x <- x + sqrt(2 w dt) z; k1 = drift(x, t); k2 = drift(x + dt k1, s); x <- x + dt (k1 + k2) / 2."""
    got = reduced(tabulate(interpolant_sde(process, grid, method="heun")), process)
    n = 2 * (len(grid) - 1)
    unit = np.eye(1 + 2 * n)  # the initial state, every D, every Z
    x, states = unit[0], []

    def drift(x, t, call):
        d = unit[1 + call]
        eps = (x - process.alpha(t) * d) / process.sigma(t)
        weight = process.sigma(t) if call > 1 else 0.0  # the first step has no noise before it
        return process.dalpha(t) * d + process.dsigma(t) * eps + weight * eps / process.sigma(t)

    for i, (t, s) in enumerate(steps(grid)):
        if i:
            x = x + np.sqrt(2 * process.sigma(t) * (t - s)) * unit[n + 2 * i]
            states[-1] = x
        k1 = drift(x, t, 2 * i)
        there = x + (s - t) * k1
        x = x + 0.5 * (s - t) * (k1 + drift(there, s, 2 * i + 1))
        states += [there, x]
    states = np.stack(states)
    for name, want in (("start", states[:, 0]), ("x0", states[:, 1 : 1 + n]), ("noise", states[:, 1 + n :])):
        np.testing.assert_allclose(getattr(got, name), want, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("name", NOISES)
def test_every_noise_keeps_the_marginals(name, method):
    for process in (Linear(), VP()):
        grid = uniform(process, 2000, 0.98, 0.02)
        check_marginal(tabulate(interpolant_sde(process, grid, NOISES[name], method=method)), process, grid[-1])


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("w", [NOISES["constant"], proportional], ids=["constant", "proportional"])
def test_weak_order(w, method):
    got = exact.order(interpolant_sde, Linear(), 1, steps=640, stochastic=True, w=w, method=method)
    assert got == pytest.approx(1, abs=0.3)


def test_last_steps():
    """To the data of the linear path: the mean of SiT overshoots the clean image by w eps."""
    grid = uniform(Linear(), 5)
    last = {name: list(interpolant_sde(Linear(), grid, last=name))[-1] for name in ("tweedie", "euler", "mean")}
    assert last["tweedie"] == last["euler"] == Row(grid[-2], x0=1.0)
    one = last["mean"]
    t = grid[-2]
    assert [one.x, one.x0, one.noise] == pytest.approx([1, t, 0])  # x - t u = x + t x0 - t eps = x0 when w = 0
    assert one.eps == pytest.approx(-t - proportional(Linear(), t))
    # and elsewhere, where noise is left at the end
    for process in (VP(), VE(geometric=True)):
        grid = uniform(process, 5)
        rows = {name: list(interpolant_sde(process, grid, last=name)) for name in last}
        assert rows["tweedie"][-1] == Row(grid[-2], x0=process.alpha(grid[-1]))
        assert rows["euler"][-1] == list(euler(process, grid))[-1]
        assert rows["mean"][-1].noise == 0


def test_one_step():
    for method in ("euler", "heun"):
        rows = list(interpolant_sde(Linear(), uniform(Linear(), 1), method=method))
        assert_same(rows, ddim(Linear(), uniform(Linear(), 1)), Linear())


def test_the_classical_noise_starts_below_one():
    with pytest.raises(ValueError, match="not finite"):
        tabulate(interpolant_sde(Linear(), uniform(Linear(), 4), classical))
    assert np.isfinite(tabulate(interpolant_sde(Linear(), uniform(Linear(), 4, 0.999), classical)).noise).all()


@pytest.mark.parametrize("options", [{"method": "midpoint"}, {"last": "first"}])
def test_unknown_options(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"interpolant_sde.{name} is .*{value}"):
        tabulate(interpolant_sde(VP(), uniform(VP(), 3), **options))
