"""Quality against a swept number."""

import math
from dataclasses import replace

import numpy as np
import pytest
from report_page import Page

from fewstep.cli.verbs.sweep import lines
from fewstep.diffusion import VP
from fewstep.evaluation.estimate import Interval
from fewstep.evaluation.exact import METRIC, compare_exactly
from fewstep.evaluation.report import write
from fewstep.evaluation.report.sweep import panels

ETAS = "ddim.eta=1,0,0.25,0.5"


def swept(*sweeps, samplers=("ddim", "heun"), grids=(), runs=("digits",)):
    asked = lines(samplers, grids, [], sweeps, []).on([VP()])
    data = {run: (VP(), np.full(2, 0.1), np.array([0.5, 1.0]), 1.0) for run in runs}
    return compare_exactly(data, asked, [4, 8], command="", environment={})


def test_a_line_is_a_sampler_at_a_budget_over_the_values_in_order():
    comparison = swept(ETAS)
    (panel,) = panels(comparison, METRIC)
    assert (panel.title, panel.about, panel.ticks) == ("digits", "ddim.eta", None)
    assert list(panel.lines) == ["ddim, 4 calls", "ddim, 8 calls"]  # heun has no eta
    for budget in (4, 8):
        x, values, best = panel.lines[f"ddim, {budget} calls"]
        assert x == [0, 0.25, 0.5, 1]
        cells = [comparison.cell("digits", f"ddim ddim.eta={eta}", budget) for eta in ("0", "0.25", "0.5", "1")]
        assert values == [cell.metrics[METRIC] for cell in cells]
        assert best == (np.argmin([value.value for value in values]),)


def test_all_else_is_part_of_the_label():
    found = panels(swept(ETAS, "karras.rho=3,5,7", samplers=["ddim"], grids=["karras", "uniform"]), METRIC)
    assert [panel.about for panel in found] == ["ddim.eta", "karras.rho"]
    over = {panel.about: {label.rpartition(",")[0] for label in panel.lines} for panel in found}
    assert over["karras.rho"] == {f"ddim karras ddim.eta={eta}" for eta in ("1", "0", "0.25", "0.5")}
    assert over["ddim.eta"] == {"ddim uniform", *(f"ddim karras karras.rho={rho}" for rho in (3, 5, 7))}
    assert {len(points.x) for points in found[1].lines.values()} == {3}


def test_runs_have_panels_of_their_own_where_they_have_the_metric():
    comparison = swept(ETAS, runs=("a", "b", "c"))
    told = [replace(cell, metrics={}) if cell.run == "b" else cell for cell in comparison.cells]
    assert [panel.title for panel in panels(replace(comparison, cells=told), METRIC)] == ["a", "c"]


def test_runs_on_the_same_data_share_a_panel():
    comparison = swept(ETAS, samplers=["ddim"], runs=("a", "b", "c"))
    found = panels(replace(comparison, groups=[["a", "b"], ["c"]]), METRIC)
    assert [panel.title for panel in found] == ["a, b", "c"]
    assert list(found[0].lines) == [f"{run} ddim, {budget} calls" for run in "ab" for budget in (4, 8)]
    assert list(found[1].lines) == ["ddim, 4 calls", "ddim, 8 calls"]


def test_what_diverged_is_not_the_best():
    comparison = swept(ETAS)
    broken = Interval(math.nan, math.nan, math.nan)
    for cell in comparison.cells:
        cell.metrics[METRIC] = broken if cell.swept.get("ddim.eta") != "0.5" else cell.metrics[METRIC]
    (panel,) = panels(comparison, METRIC)
    assert [points.best for points in panel.lines.values()] == [(2,), (2,)]


@pytest.mark.parametrize("values", ["0,1", "1,1.0,1e0", "0,0.5,nan", "0,0.5,None"])
def test_only_three_numbers_make_a_curve(values):
    comparison = swept(ETAS, samplers=["ddim"])
    texts = dict(zip(("1", "0", "0.25", "0.5"), values.split(","), strict=False))
    told = [replace(c, swept={"ddim.eta": texts.get(c.swept["ddim.eta"], values[0])}) for c in comparison.cells]
    assert panels(replace(comparison, cells=told), METRIC) == []


def test_files_and_page_have_the_curve_of_this_comparison(tmp_path):
    written = write(tmp_path, swept(ETAS, runs=("a", "b")))
    assert {"sweep.png", "sweep.svg"} < written.keys()
    groups = Page(written["report.html"].read_text()).data["groups"]
    for group, panel in zip(groups, panels(swept(ETAS, runs=("a", "b")), METRIC), strict=True):
        (found,) = group["sweeps"][METRIC]
        assert found["about"] == panel.about
        assert [(line["label"], line["x"]) for line in found["lines"]] == [(k, v.x) for k, v in panel.lines.items()]
    drawn = written["sweep.svg"].read_text()
    assert all(drawn.count(f">{text}</text>") == 2 for text in ("ddim.eta", "ddim, 4 calls", "best of its line"))
    written = write(tmp_path, swept())
    assert {path.name for path in tmp_path.iterdir()} == written.keys()
    assert "sweep.png" not in written
