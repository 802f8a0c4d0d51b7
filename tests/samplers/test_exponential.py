"""Exponential multistep methods and UniPC: what they have in common, golden values, and what is published wrong."""

import numpy as np
import pytest
from checks import MIXTURE, assert_same, inside
from checks import variant as with_options
from golden import GRID, PREDICTED, after, digits, row_of

from fewstep.diffusion import VP, oracles
from fewstep.samplers import SAMPLERS, ddim, dpmpp_2m, exact
from fewstep.samplers.adams import deis, ipndm
from fewstep.samplers.exponential import dpmpp_3m, exponential_ab
from fewstep.samplers.tableau import tabulate
from fewstep.samplers.unipc import unipc

LONGER = np.append(GRID, VP().time(np.float64(0.6)))  # the step after it too


@pytest.mark.parametrize(("rows", "value"), [
    (dpmpp_2m(VP(), GRID, lower_final=False), "0.5235842839"),
    (dpmpp_3m(VP(), GRID, kappa=1.0, lower_final=False), "0.4929840122"),
    (dpmpp_3m(VP(), GRID, lower_final=False), "0.4827764155"),
    (exponential_ab(VP(), GRID, 2, lower_final=False), "0.5267424664"),
    (exponential_ab(VP(), GRID, 3, lower_final=False), "0.4827764155"),
    (unipc(VP(), GRID, 2, "bh1", corrector=False, lower_final=False), "0.533887784"),
    (unipc(VP(), GRID, 2, "bh2", corrector=False, lower_final=False), "0.5235842839"),
    (unipc(VP(), GRID, 3, "bh1", corrector=False, lower_final=False), "0.4827764155"),
    (unipc(VP(), GRID, 3, "bh2", corrector=False, lower_final=False), "0.4827764155"),
])  # fmt: skip
def test_golden_predictors(rows, value):
    assert digits(after(row_of(rows))) == value


@pytest.mark.parametrize(("order", "value"), [(1, "0.5300964511"), (2, "0.5361802806"), (3, "0.5267127876")])
def test_golden_correctors(order, value):
    """The row at the step's end corrects before it goes on: what it adds to the plain prediction, carried back."""
    plain, rows = (list(unipc(VP(), LONGER, order, corrector=c, lower_final=False)) for c in (False, True))
    state = after(plain[2])
    there = oracles.mixture(VP(), *MIXTURE)(np.array([[state]]), GRID[3]).x0[0, 0]
    memory = np.array([there, *PREDICTED])

    def onwards(row):
        eps = (state - VP().alpha(row.t) * there) / VP().sigma(row.t)
        return row.x0 * there + row.eps * eps + np.dot(row.past, memory[1 : 1 + len(row.past)])

    # From the same state with the same memory: what differs is the correction, carried on.
    correction = (onwards(rows[3]) - onwards(plain[3])) * VP().sigma(LONGER[3]) / VP().sigma(LONGER[4])
    assert state + correction == pytest.approx(float(value), abs=2e-10)


@inside
def test_one_point_is_ddim(process, grid):
    for form in ("data", "noise"):
        assert_same(exponential_ab(process, grid, 1, form), ddim(process, grid), process)
    assert_same(unipc(process, grid, 1, corrector=False), ddim(process, grid), process)


@inside
def test_unip_2_is_2m_and_unip_3_is_3m_is_adams_bashforth(process, grid):
    off = {"lower_final": False}
    assert_same(unipc(process, grid, 2, corrector=False, **off), dpmpp_2m(process, grid, **off), process)
    three = list(exponential_ab(process, grid, 3, **off))[2:]
    for rows in (dpmpp_3m(process, grid, **off), unipc(process, grid, 3, corrector=False, **off)):
        for one, other in zip(list(rows)[2:], three, strict=True):
            np.testing.assert_allclose([one.x0, *one.past], [other.x0, *other.past], rtol=1e-12, atol=1e-12)


def test_the_published_3m_is_of_order_2():
    three = SAMPLERS["dpmpp_3m"]
    assert exact.order(three, VP(), 3) == pytest.approx(3, abs=0.1)
    assert exact.order(three, VP(), 3, kappa=1.0) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("b", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("form", ["data", "noise"])
def test_unipc_orders(order, b, corrector, form):
    found = exact.order(SAMPLERS["unipc"], VP(), order + corrector, order=order, b=b, corrector=corrector, form=form)
    assert found == pytest.approx(order + corrector, abs=0.3)


@pytest.mark.parametrize("form", ["data", "noise"])
@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_adams_bashforth_orders(points, form):
    """The error of four points settles late."""
    found = exact.order(SAMPLERS["exponential_ab"], VP(), points, steps=320, points=points, form=form)
    assert found == pytest.approx(points, abs=0.3)


def test_the_memory_of_both_correctors_is_linear_in_what_it_saw():
    """A network call a step, and the corrector costs memory alone."""
    tables = [
        tabulate(with_options("unipc", order=3, corrector=c, lower_final=False)(VP(), LONGER)) for c in (False, True)
    ]
    assert [table.nfe for table in tables] == [4, 4]
    assert [table.history for table in tables] == [2, 3]


@pytest.mark.parametrize(("sampler", "option"), [
    (unipc, {"b": "bh3"}), (unipc, {"order": 4}), (unipc, {"form": "x"}), (exponential_ab, {"form": "x"}),
])  # fmt: skip
def test_unknown_options(sampler, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is "):
        list(sampler(VP(), GRID, **option))


@pytest.mark.parametrize("rows", [exponential_ab, deis, ipndm])
@pytest.mark.parametrize("points", [0, -1, 1.5])
def test_points_are_whole_and_positive(rows, points):
    with pytest.raises(ValueError, match="points is a whole number"):
        list(rows(VP(), GRID, points))


def test_the_order_after_an_analytic_first_step_is_not_measured():
    with pytest.raises(ValueError, match="measure it without"):
        exact.order(deis, VP(), 3, first="analytic")
