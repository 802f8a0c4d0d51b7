"""The sampler that docs/add_a_sampler.md adds passes what the contract demands, and its commands show it."""

import re
from pathlib import Path

import numpy as np
import pytest
from checks import (  # fmt: skip
    MEAN,
    PROCESSES,
    STD,
    check_coefficients,
    check_marginal,
    check_moments,
    check_order,
    gaussian_draw,
    grid_of,
    table_of,
)

from samplers import SAMPLERS, exact, reduced, table_at
from samplers.registry import Sampler

PAGE = (Path(__file__).parents[2] / "docs" / "add_a_sampler.md").read_text()
FILE, LINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMES = {"Sampler": Sampler}
exec(FILE, NAMES)
(ADDED,) = eval(LINE, NAMES)

each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


@each
def test_it_passes_the_contract(process):
    check_order(ADDED, process, ADDED.order)
    for steps in (1, 2, 5, 16, 40):
        check_coefficients(table_of(ADDED, process, steps), process, grid_of(ADDED, process, steps)[-1], noise=True)
    check_marginal(table_of(ADDED, process, 2000), process, grid_of(ADDED, process, 2000)[-1])
    for nfe in (1, 2, 7, 20):
        assert table_at(ADDED, process, nfe).nfe == nfe


def test_its_moments_are_those_of_samples():
    table = table_at(ADDED, PROCESSES["vp"], 10)
    check_moments(gaussian_draw(table, PROCESSES["vp"]), exact.moments(table, PROCESSES["vp"], MEAN, STD**2))


@each
def test_its_first_step_is_that_of_ddim(process):
    first, other = (reduced(table_of(s, process, 6), process) for s in (ADDED, SAMPLERS["ddim"]))
    if ADDED.grid_for(process) == SAMPLERS["ddim"].grid_for(process):
        np.testing.assert_allclose(first.x0[0], other.x0[0], atol=1e-12)


def test_its_name_is_no_registered_one():
    """Else the page would show how to break the registry."""
    assert ADDED.name == "ab2"
    assert ADDED.name not in SAMPLERS
