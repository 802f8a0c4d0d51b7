"""The files of a comparison."""

import csv
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from evaluation.comparison import Cell, Comparison
from evaluation.distances import Interval
from evaluation.report import write
from evaluation.report.curve import COLOURS, MARKERS
from evaluation.report.table import number, render
from samplers import SAMPLERS

BUDGETS = [1, 2, 4, 8, 16, 32, 64]


def made(shape=(8, 8, 8, 1), runs=("digits",)):
    rng = np.random.default_rng(0)
    cells, previews = [], {}
    for run in runs:
        for k, sampler in enumerate(("ddim", "heun", "euler_maruyama")):
            for budget in BUDGETS[2 if sampler == "heun" else 0 :]:
                value = 0.1 + (k + 1) / budget
                metrics = {m: Interval(value, 0.9 * value, 1.1 * value) for m in ("FD-pixels", "SW-pixels")}
                cells.append(Cell(run, sampler, "uniform", budget, budget, float(budget), 0.5, metrics))
                previews[run, sampler, budget] = rng.integers(0, 256, shape).astype(np.uint8)
    floors = {run: {m: Interval(0.118, 0.1, 0.13) for m in ("FD-pixels", "SW-pixels")} for run in runs}
    return Comparison(
        command="fewstep compare <runs/digits>", runs=list(runs), samplers=["ddim", "heun", "euler_maruyama"],
        budgets=BUDGETS, cells=cells, floors=floors, count=500, seed=0, levers=("cfg(1.5)",),
        environment={"jax": "1.2.3"}, previews=previews,
    )  # fmt: skip


def test_json_round_trip():
    comparison = made(runs=("a", "b"))
    assert Comparison.from_json(comparison.to_json()) == comparison


def test_a_cell_that_diverged_is_null_in_json():
    comparison = made()
    comparison.cells[0].metrics["FD-pixels"] = Interval(math.nan, math.nan, math.nan)
    text = comparison.to_json()
    (first, *_) = json.loads(text, parse_constant=pytest.fail)["cells"]
    assert first["metrics"]["FD-pixels"] == [None] * 3
    assert np.isnan(Comparison.from_json(text).cells[0].metrics["FD-pixels"]).all()
    assert "nan" in render(comparison, "FD-pixels")
    assert comparison.best("digits", 1, "FD-pixels") == {"euler_maruyama"}


def test_csv_has_a_line_a_cell():
    comparison = made()
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert len(rows) == len(comparison.cells) + 1 == 20
    assert (rows[-1]["sampler"], float(rows[-1]["FD-pixels"])) == ("floor", 0.118)
    assert float(rows[0]["FD-pixels low"]) == comparison.cells[0].metrics["FD-pixels"].low


def test_table_fits_marks_the_best_and_leaves_blanks():
    lines = render(made(), "FD-pixels").splitlines()
    assert max(map(len, lines)) <= 80
    (ddim,) = (line for line in lines if line.startswith("ddim"))
    (heun,) = (line for line in lines if line.startswith("heun"))
    assert ddim.count("*") == 7
    assert heun.split()[1:3] == ["-", "-"]
    assert any(line.split()[:2] == ["floor", "0.118"] for line in lines)


def test_many_budgets_wrap():
    comparison = made()
    comparison.budgets.extend(range(65, 80))
    assert max(map(len, render(comparison, "FD-pixels").splitlines())) <= 80


def test_all_samplers_look_different_in_a_curve():
    assert math.lcm(len(COLOURS), len(MARKERS)) > len(SAMPLERS)


@pytest.mark.parametrize(("value", "text"), [(0.118, "0.118"), (12.345, "12.3"), (1234.5, "1234"), (100.0, "100")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


class Page(HTMLParser):
    """Collects the tags, links and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.text, self.tags = [], "", set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("shape", [(8, 8, 8, 1), (4, 6, 8, 3), (100, 2), (100, 1), (4, 6, 6, 2)])
def test_the_page_needs_nothing_else(tmp_path, shape):
    comparison = made(shape)
    if len(shape) == 2:
        comparison.previews.update({key: np.zeros(shape) for key in comparison.previews})
    written = write(tmp_path / "out", comparison)
    text = written["report.html"].read_text()
    page = Page(text)
    assert all(source.startswith("data:") for source in page.sources)
    seen = shape not in ((100, 1), (4, 6, 6, 2))
    assert len(page.sources) == 1 + seen * len(comparison.cells)
    assert "script" not in page.tags
    for cell in comparison.cells:
        assert number(cell.metrics["FD-pixels"].value) in page.text
    assert "has no table of 1 calls" in text
    assert "<runs/digits>" in page.text
    assert Image.open(written["curve.png"]).size[0] > 600
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"table.csv", "table.json", "curve.png", "report.html"}
