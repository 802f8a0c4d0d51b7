"""The files of a comparison."""

import base64
import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report_page import Page

from fewstep.evaluation.comparison import Cell, Comparison, Gap, best_of
from fewstep.evaluation.estimate import Difference, Interval
from fewstep.evaluation.report import write
from fewstep.evaluation.report.data import page_data
from fewstep.evaluation.report.plot import COLOURS, MARKERS
from fewstep.evaluation.report.strips import strips
from fewstep.evaluation.report.table import number, render
from fewstep.samplers import SAMPLERS

LINES = ["ddim", "heun", "euler_maruyama"]
BUDGETS, METRICS = [1, 2, 4, 8, 16, 32, 64], ["FD-pixels", "SW-pixels"]
FILES = {"table.csv", "table.json", "differences.csv", "curve.png", "curve.svg", "report.html"}


def made(shape=(8, 8, 8, 1), runs=("digits",), together=False):
    """Runs on data of their own, or on the same."""
    rng = np.random.default_rng(0)
    cells, gaps, previews = [], [], {}
    for run in runs:
        later = runs.index(run) if together else 0
        for k, line in enumerate(LINES, start=3 * later):
            for budget in BUDGETS[2 if line == "heun" else 0 :]:
                value = 0.1 + (k + 1) / budget
                metrics = {m: Interval(value, 0.9 * value, 1.1 * value) for m in METRICS}
                spent = Interval(0.5, 0.4, 0.6)
                cells.append(Cell(run, line, line, "uniform", {}, budget, budget, float(budget), spent, metrics))
                if k:
                    apart = Difference(k / budget, k / budget - 0.04, k / budget + 0.04, k / budget - 0.1, 1.0)
                    best = runs[0] if together else run
                    gaps += [Gap(run, line, best, "ddim", budget, metric, apart) for metric in METRICS]
                previews[run, line, budget] = rng.integers(0, 256, shape).astype(np.uint8)
    floors = {run: {m: Interval(0.118, 0.1, 0.13) for m in METRICS} for run in runs}
    return Comparison(
        command="fewstep compare <runs/digits>", runs=list(runs),
        groups=[list(runs)] if together else [[run] for run in runs], lines=LINES,
        budgets=BUDGETS, metrics=METRICS, cells=cells, gaps=gaps, floors=floors, notes=["FD-pixels has a bias."],
        count=500, seed=0, repeats=1, levers=("cfg(1.5)",), environment={"jax": "1.2.3"},
        memory=dict.fromkeys(runs, 2**30), previews=previews,
    )  # fmt: skip


def test_json_round_trip():
    for together in (False, True):
        comparison = made(runs=("a", "b"), together=together)
        assert Comparison.from_json(comparison.to_json()) == comparison


def test_files_of_earlier_versions_are_read():
    """Which had gaps within a run, and further ones between the best of each run."""
    comparison = made(runs=("a", "b"))
    apart = Difference(0.5, 0.4, 0.6, 0.1, 0.9)
    old = replace(comparison, gaps=[*comparison.gaps, Gap("b", "ddim", "a", "ddim", 64, "FD-pixels", apart)])
    plain = json.loads(old.to_json())
    del plain["groups"], plain["sha256"]
    found = Comparison.from_json(json.dumps(plain))
    assert found == old
    assert render(found) == render(comparison)


def test_a_cell_that_diverged_is_null_in_json():
    comparison = made()
    comparison.cells[0].metrics["FD-pixels"] = Interval(math.nan, math.nan, math.nan)
    text = comparison.to_json()
    (first, *_) = json.loads(text, parse_constant=pytest.fail)["cells"]
    assert first["metrics"]["FD-pixels"] == [None] * 3
    assert np.isnan(Comparison.from_json(text).cells[0].metrics["FD-pixels"]).all()
    assert "nan" in render(comparison)
    assert comparison.best(["digits"], 1, "FD-pixels") == [("digits", "euler_maruyama")]


def test_csv_has_a_line_a_cell():
    comparison = made()
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert len(rows) == len(comparison.cells) + 1 == 20
    assert (rows[-1]["line"], float(rows[-1]["FD-pixels"])) == ("floor", 0.118)
    assert float(rows[0]["FD-pixels low"]) == comparison.cells[0].metrics["FD-pixels"].low


def test_the_flow_stands_beside_the_bounds(tmp_path):
    """In its own row, not as a floor, in the table, the CSV and the page."""
    comparison = made()
    for cell in comparison.cells:
        cell.metrics["bpd"] = Interval(4.0 + 1 / cell.budget, 3.9, 5.2)
    comparison.floors["digits"]["bpd"] = Interval(5.27, 5.1, 5.4)
    comparison = replace(comparison, metrics=[*METRICS, "bpd"])
    text = render(comparison)
    table = text[text.index("digits: bpd") :].splitlines()
    assert ["flow", "5.27"] in [line.split()[:2] for line in table]
    assert "Flow: held-out" in " ".join(text.split())
    assert "Flow" not in render(made())
    *_, floor, flow = csv.DictReader(io.StringIO(comparison.to_csv()))
    assert (floor["line"], floor["bpd"], flow["line"], flow["bpd"]) == ("floor", "", "flow", "5.27")
    page = Page(write(tmp_path, comparison)["report.html"].read_text())
    assert page.data["groups"][0]["references"]["bpd"]["flow"] == [5.27, 5.1, 5.4]
    assert "Flow: held-out images" in page.text


def test_table_fits_marks_the_best_and_leaves_blanks():
    lines = render(made()).splitlines()
    assert max(map(len, lines)) <= 80
    ddim, _ = (line for line in lines if line.startswith("ddim"))
    heun, _ = (line for line in lines if line.startswith("heun"))
    assert ddim.count("*") == 7
    assert heun.split()[1:3] == ["-", "-"]
    assert [text[-1] == "~" for text in heun.split()[3:]] == [False, False, False, True, True]
    assert any(line.split()[:2] == ["floor", "0.118"] for line in lines)
    assert lines[-1] == "FD-pixels has a bias."


def test_the_best_and_the_next_one_with_both_intervals():
    text = render(made())
    (row,) = {line for line in text.splitlines() if line.startswith("16 ") and "ddim" in line}
    assert row.split() == ["16", "ddim", "0.163", "±0.0163", "heun", "0.0625", "±0.0400", "±0.938"]


def test_runs_on_the_same_data_share_a_table_with_one_verdict_and_one_floor():
    text = render(made(runs=("flow", "ect"), together=True), width=100)
    assert text.count("flow, ect: FD-pixels by network calls") == text.count("FD-pixels by network calls") == 1
    table, verdict, *_ = text.split("\n\n")
    rows = table.splitlines()[2:]
    assert [row.split()[:2] for row in rows[:6]] == [[run, line] for run in ("flow", "ect") for line in LINES]
    assert rows[0].count("*") == 7
    assert "*" not in "".join(rows[1:])
    assert rows[4].split()[2:4] == ["-", "-"]
    assert [row.split()[0] for row in rows].count("floor") == 1
    assert verdict.splitlines()[1].split()[:6] == ["1", "flow", "ddim", "1.10", "±0.110", "flow"]


@pytest.mark.parametrize("more", ["", "_and_more" * 5])
def test_names_in_the_verdict_are_whole_and_within_the_width(more):
    runs = (f"a_run_of_some_length{more}", f"another_run_of_a_name{more}")
    text = render(made(runs=runs, together=True))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("calls")]
    assert len(blocks) == len(METRICS)
    for lines in blocks:
        assert max(map(len, lines)) <= 80
        names = "".join(line[7:].split("  ")[0] for line in lines).replace(" ", "")
        assert names.startswith(f"bestnext{runs[0]}ddim{runs[0]}euler_maruyama{runs[0]}ddim")
        assert "…" not in names
    if not more:
        assert max(map(len, text.splitlines())) <= 80
        first = blocks[0].index(next(line for line in blocks[0] if line.startswith("16 ")))
        best, after = (line.split() for line in blocks[0][first : first + 2])
        assert best == ["16", runs[0], "ddim", "0.163", "±0.0163"]
        assert after == [runs[0], "heun", "0.0625", "±0.0400", "±0.938"]


def test_what_all_lines_begin_with_is_left_out_of_the_leaders():
    comparison = made()
    names = {name: f"dpmpp_2m cfg.scale={i}.5" for i, name in enumerate(comparison.lines)}
    swept = replace(
        comparison,
        lines=list(names.values()),
        cells=[replace(c, line=names[c.line]) for c in comparison.cells],
        gaps=[replace(g, line=names[g.line], best=names[g.best]) for g in comparison.gaps],
    )
    lines = render(swept).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["16", "cfg.scale=0.5"] for line in lines)


def test_ties_are_those_whose_difference_may_be_nothing():
    comparison = made()
    assert comparison.ties(["digits"], 64, "FD-pixels") == {("digits", "heun"), ("digits", "euler_maruyama")}
    assert comparison.ties(["digits"], 8, "FD-pixels") == set()


def test_higher_is_better_where_it_is():
    assert best_of({"a": 0.5, "b": 0.9, "c": math.nan}, "precision-pixels") == ["b"]
    assert best_of({"a": 0.5, "b": 0.5}, "FD-pixels") == ["a", "b"]
    assert best_of({"a": 0.5}, "novelty-pixels") == []


def test_many_budgets_wrap():
    comparison = made()
    comparison.budgets.extend(range(65, 80))
    assert max(map(len, render(comparison).splitlines())) <= 80
    del comparison.budgets[7:]


def test_all_samplers_look_different_in_a_curve():
    assert math.lcm(len(COLOURS), len(MARKERS)) > len(SAMPLERS)


@pytest.mark.parametrize(("value", "text"), [(0.118, "0.118"), (12.345, "12.3"), (1234.5, "1234"), (100.0, "100")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize("shape", [(8, 8, 8, 1), (4, 6, 8, 3), (100, 2), (100, 1), (4, 6, 6, 2)])
def test_the_page_needs_nothing_else(tmp_path, shape):
    comparison = made(shape)
    if len(shape) == 2:
        comparison.previews.update({key: np.zeros(shape) for key in comparison.previews})
    written = write(tmp_path / "out", comparison)
    page = Page(written["report.html"].read_text())
    assert page.sources == []
    assert not {"link", "img", "iframe"} & {*page.tags}
    (group,) = page.data["groups"]
    seen = shape not in ((100, 1), (4, 6, 6, 2))
    assert sum(cell["strip"] is not None for cell in group["cells"]) == seen * len(comparison.cells)
    assert all(cell["strip"].startswith("data:image/png;base64,") for cell in group["cells"] if seen)
    for cell, shown in zip(comparison.cells, group["cells"], strict=True):
        assert shown["values"] == {name: pytest.approx(list(v), rel=1e-5) for name, v in cell.metrics.items()}
    assert "<runs/digits>" in page.text
    assert Image.open(written["curve.png"]).size[0] > 600
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES


def test_the_page_sets_runs_beside_each_other(tmp_path):
    comparison = made(runs=("a", "b"), together=True)
    written = write(tmp_path, comparison)
    (group,) = Page(written["report.html"].read_text()).data["groups"]
    assert [row["label"] for row in group["rows"]] == [f"{run} {line}" for run in "ab" for line in LINES]
    for metric in METRICS:
        assert [*group["references"][metric]] == ["floor"]
        assert {found["best"] for found in group["answers"][metric]["at"].values()} == {0}
        at = group["answers"][metric]["at"]
        assert [at[str(b)]["sure"] for b in BUDGETS] == ["clear"] * 5 + ["or a heun", "or 2 others"]
        clear = r"Clear: on the same seeds the next, a heun, is 0\.0625 worse \(95 % interval 0\.0225 to 0\.10[23]\)\."
        assert re.fullmatch(clear, at["16"]["reason"])
    drawn = written["curve.svg"].read_text()
    assert all(drawn.count(f">{run} {line}</text>") == 1 for run in "ab" for line in comparison.lines)
    assert drawn.count(">floor </text>") == 1


def test_the_answer_says_of_which_data_it_is():
    answers = [group["answers"]["FD-pixels"] for group in page_data(made(runs=("a", "b")))["groups"]]
    assert [answer["sentence"][:16] for answer in answers] == ["a: ddim is best ", "b: ddim is best "]


def test_the_page_says_how_it_was_made(tmp_path):
    record = {
        "data": "digits", "training_images": 1297, "held_out_images": 500, "shape": [8, 8, 1], "classes": 10,
        "learned": ["velocities at an instant"], "folder": "runs/digits", "checkpoint": 1500, "weights": "a1b2",
        "parameters": 709025, "training_seconds": 90.4, "trained_features": ["classifier"], "commit": "c3d4",
        "versions": {"jax": "1.2.3"},
    }  # fmt: skip
    comparison = replace(
        made(), models={"digits": record}, commands={"digits": {"ddim": "fewstep sample runs/digits --nfe N"}}
    )
    page = Page(write(tmp_path, comparison)["report.html"].read_text())
    text = " ".join(page.text.split())
    for fact in (
        "step 1500", "709,025", "digits: 1,297 to train on, 500 held out", "8 x 8 x 1, 10 classes", "a1b2", "c3d4",
        "1 min 30 s, without previews", "trained on features classifier", "1024 MiB", "jax 1.2.3", "seeds 0 to 499",
    ):  # fmt: skip
        assert fact in text
    assert [row["command"] for row in page.data["groups"][0]["rows"]] == [
        "fewstep sample runs/digits --nfe N",
        None,
        None,
    ]


def test_what_comes_from_elsewhere_is_text(tmp_path):
    """Names of runs and samplers, notes and commands cannot become a part of the page."""
    bad = "</script><script>alert(1)</script><b>"
    comparison = replace(made(runs=(bad,)), notes=[bad], command=bad, environment={bad: bad})
    page = Page(write(tmp_path, comparison)["report.html"].read_text())
    assert page.tags.count("script") == 6
    assert "b" not in page.tags
    assert page.data["groups"][0]["title"] == bad


def test_strips_are_exact_while_they_are_small_and_bounded_where_they_are_not():
    rng = np.random.default_rng(0)
    previews = {i: rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8) for i in range(4)}
    found = strips(previews)
    for i, strip in found.items():
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.uri.partition(",")[2]))))
        np.testing.assert_array_equal(image, np.concatenate([*previews[i]], axis=1))
    most = sum(len(strip.uri) for strip in found.values()) // 8
    small = strips(previews, most)
    assert {(strip.uri[:15], strip.seeds) for strip in small.values()} == {("data:image/webp", 4)}
    assert sum(len(strip.uri) * 3 / 4 for strip in small.values()) <= most + 30


def test_the_flow_of_each_run_is_a_row_of_a_group():
    comparison = made(runs=("a", "b"), together=True)
    for run, value in (("a", 5.1), ("b", 5.2)):
        comparison.floors[run]["bpd"] = Interval(value, 5.0, 5.3)
    assert [*comparison.reference_rows(["a", "b"], "bpd")] == ["a flow", "b flow"]
    assert [*comparison.reference_rows(["a"], "bpd")] == ["flow"]
    assert [*comparison.reference_rows(["a", "b"], "FD-pixels")] == ["floor"]
