"""docs/add_a_sampler.md, followed word for word: its sampler, registered for the time of a test, meets the contract."""

import re
from pathlib import Path

import pytest
import test_contract as contract
from checks import ALL, PROCESSES, each_kind

from fewstep.cli.verbs.samplers import checked, written
from fewstep.samplers import SAMPLERS, reduced, registry

PAGE = (Path(__file__).parents[2] / "docs" / "add_a_sampler.md").read_text()
FILE, LINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def sampler(monkeypatch):
    """The file run, the line put into the registry."""
    made = {}
    exec(FILE, made)
    sampler = eval(LINE, {"Sampler": registry.Sampler, "midpoint": made["midpoint"]})
    monkeypatch.setitem(SAMPLERS, sampler.name, sampler)
    monkeypatch.setitem(ALL, sampler.name, sampler)
    return sampler


def test_the_names_on_the_page_are_right(sampler):
    assert f"`samplers/{sampler.name}.py`" in PAGE
    assert set(re.findall(r"--(?:table|check|sampler) (\w+) ", PAGE)) == {sampler.name}


@each_kind
@pytest.mark.parametrize(
    "test",
    [
        contract.test_moments_are_those_of_samples, contract.test_many_steps_reach_the_exact_law, contract.test_order,
        contract.test_coefficients, contract.test_tables, contract.test_budgets,
        contract.test_network_calls_are_the_rows,
    ],
    ids=lambda test: test.__name__,
)  # fmt: skip
def test_the_contract(test, sampler, process):
    test(sampler, process)


@each_kind
def test_it_is_shown_and_checked(sampler, process):
    table = registry.table_at(sampler, process, 6)
    text = written(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "past[0]" in text
    assert "noise" not in text
    assert re.search(r"order +(1\.[7-9]|2\.[0-2])\d at 80 steps; by default 2", checked(sampler, process, table))


def test_its_second_row_takes_the_first_away(sampler):
    """The state after a step is that of the formula: only the prediction at the middle remains."""
    process = PROCESSES["vp"]
    states = reduced(registry.table_at(sampler, process, 6), process)
    assert abs(states.x0[1, 0]) < 1e-12
    assert states.x0[1, 1] > 0.1
