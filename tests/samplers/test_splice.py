"""Splices: their parts on either side of the level, the memory across it, and what cannot follow."""

from functools import partial

import numpy as np
import pytest
from checks import PROCESSES, Zero, each_kind

from fewstep.diffusion import VP, oracles
from fewstep.samplers import GRIDS, SAMPLERS, dpmpp_2m, draw, table_at, tabulate
from fewstep.samplers.exact import order
from fewstep.samplers.registry import find

PAIRS = ["dpmpp_2m_sde:0.5:dpmpp_2m", "heun:1:unipc", "edm:2:ddim", "sa_solver:0.5:exponential_ab", "ddim:2:res_3s"]


def level(process, t):
    return process.sigma(t) / process.alpha(t)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("steps", [6, 12, 40])
@each_kind
def test_it_is_its_parts_on_either_side(name, process, steps):
    first, at, second = name.split(":")
    grid = GRIDS["karras"](process, steps)
    cut = int((level(process, grid[:-1]) > float(at)).sum())
    assert 0 < cut < steps
    above, below = (
        tabulate(SAMPLERS[one](process, times)) for one, times in ((first, grid[: cut + 1]), (second, grid[cut:]))
    )
    whole = tabulate(find(name)(process, grid))
    assert whole.nfe == above.nfe + below.nfe
    for part, rows in ((above, slice(above.nfe)), (below, slice(above.nfe, None))):
        for column in whole._fields[:-1]:
            got, want = getattr(whole, column)[rows], getattr(part, column)
            if column == "past":
                assert not got[:, want.shape[1] :].any()  # nothing is read from before the level
                got = got[:, : want.shape[1]]
            np.testing.assert_array_equal(got, want, err_msg=column)


def test_images_go_on_from_the_state_at_the_level():
    """The draw of a splice is that of its second part from the last state of the first."""
    process = VP()
    den, grid = oracles.mixture(process, [-1.0, 0.8], [0.3, 0.4], [0.4, 0.6]), GRIDS["karras"](process, 12)
    cut = int((level(process, grid[:-1]) > 1).sum())
    half = draw(den, tabulate(SAMPLERS["dpmpp_2m_sde"](process, grid[: cut + 1])), range(8), (3,))
    end = draw(den, tabulate(SAMPLERS["unipc"](process, grid[cut:])), range(8), (3,), start=half)
    whole = draw(den, tabulate(find("dpmpp_2m_sde:1:unipc")(process, grid)), range(8), (3,))
    np.testing.assert_allclose(whole, end, rtol=1e-5, atol=1e-6)


def test_several_levels_and_levels_beyond_the_grid():
    process = PROCESSES["ve"]
    grid = GRIDS["karras"](process, 10)
    three = tabulate(find("ddpm:5:heun:0.1:ddim")(process, grid))
    noisy, calls = (np.asarray(a) for a in (three.noise > 0, np.array([level(process, t) for t in three.t])))
    assert (calls[noisy] > 5).all()
    assert noisy[calls > 5].all()
    for name, alone in (("ddpm:1e6:ddim", "ddim"), ("ddim:1e-9:ddpm", "ddim")):
        for a, b in zip(tabulate(find(name)(process, grid)), tabulate(SAMPLERS[alone](process, grid)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_multistep_method_is_not_lowered_at_the_level():
    """Lowering is for the last steps to the data: of a part that ends before, no step but the first is of one point."""
    process = VP()
    grid = GRIDS["log_snr"](process, 12)
    table = tabulate(find("dpmpp_2m:1:ddim")(process, grid))
    cut = int((level(process, grid[:-1]) > 1).sum())
    assert table.past[1:cut].any(1).all()
    assert not tabulate(dpmpp_2m(process, grid)).past[-1].any()


def test_its_properties():
    one = find("dpmpp_2m_sde:0.5:dpmpp_3s")
    assert (one.name, one.order, one.calls, one.stochastic, one.grid) == (
        "dpmpp_2m_sde:0.5:dpmpp_3s", 2, 3, True, "log_snr",
    )  # fmt: skip
    assert one.names == {"dpmpp_2m_sde", "dpmpp_3s"}
    assert find("ddim:1:flow_map").needs == {"jump"}
    assert find("ddim:1:dpmpp_3m").order == 1


def test_the_first_step_of_a_part_costs_a_method_of_order_three_one():
    """It begins again at the level, with a step of first order."""
    assert order(find("ddim:1:dpmpp_3m").parts[1], VP(), 3) == pytest.approx(3, abs=0.3)
    spliced = find("dpmpp_3s:1:dpmpp_3m")
    assert order(spliced, VP(), 3) == pytest.approx(2, abs=0.3)


def test_draws_count_the_calls():
    table = table_at(find("heun:1:dpmpp_2m"), VP(), 9)
    assert 8 <= table.nfe <= 9
    assert np.isfinite(draw(Zero(VP()), table, [0], (1,))).all()


def test_what_begins_with_noise_of_its_own_cannot_follow():
    for second in (SAMPLERS["edm"], partial(SAMPLERS["rho_rk2"], first="analytic")):
        with pytest.raises(ValueError, match="below the noise level 1 begins with noise of its own"):
            tabulate(
                partial(find("ddim:1:edm").rows.func, [SAMPLERS["ddim"], second], [1.0])(VP(), GRIDS["karras"](VP(), 8))
            )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ddim:1", "no splice"),
        ("ddim:x:heun", "no splice"),
        ("ddim:1:heun:2:euler", "decrease"),
        ("ddim:0:heun", "no splice"),
        ("ddim:1:huen", "did you mean 'heun'"),
        ("dimm", "did you mean 'ddim'"),
    ],
)
def test_what_is_no_splice(name, part):
    with pytest.raises(ValueError, match=part):
        find(name)
