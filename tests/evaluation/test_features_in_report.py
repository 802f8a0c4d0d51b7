"""A metric on several features in the files of a comparison."""

from dataclasses import replace

import numpy as np
from report_page import Page

from fewstep.evaluation.comparison import Cell, Comparison
from fewstep.evaluation.estimate import Interval, estimate
from fewstep.evaluation.gaps import changes, gaps
from fewstep.evaluation.metrics import metric_info, name_and_features, on_several_features
from fewstep.evaluation.report import write
from fewstep.evaluation.report.data import page_data
from fewstep.evaluation.report.table import render

BUDGETS, METRICS = [1, 2], ["FD-pixels", "FID", "mind-pixels"]
VALUES = {("lsd", 1): (0.3, 5.0, 0.2), ("lsd", 2): (0.2, 4.0, 0.1), ("ect", 1): (0.5, 2.0, 0.3)}


def made(trained=()):
    """Two runs; what is best on pixels is not on the other features.  trained: metrics that lsd was trained on."""
    rng, groups, lines = np.random.default_rng(0), [["lsd", "ect"]], ["flow_map"]
    measured = {
        (run, "flow_map", budget): {
            m: estimate(v, rng.normal(0, 0.01, 50)) for m, v in zip(METRICS, found, strict=True)
        }
        for (run, budget), found in VALUES.items()
    }
    cells = [
        Cell(
            run, line, line, "uniform", {}, n, n, float(n), Interval(1, 1, 1), {m: v.interval() for m, v in own.items()}
        )
        for (run, line, n), own in measured.items()
    ]
    judged = {at: {m: v for m, v in own.items() if at[0] != "lsd" or m not in trained} for at, own in measured.items()}
    return Comparison(
        command="fewstep compare lsd ect", runs=["lsd", "ect"], groups=groups, lines=lines, budgets=BUDGETS,
        metrics=METRICS, cells=cells, gaps=gaps(judged, groups, BUDGETS, METRICS),
        changes=changes(judged, groups, METRICS),
        floors={run: {"FD-pixels": Interval(0.1, 0.1, 0.1)} for run in ("lsd", "ect")}, notes=[], count=50, seed=0,
        repeats=1, levers=(), environment={}, memory={},
        trained={"lsd": list(trained)} if trained else {},
    )  # fmt: skip


def test_names_have_their_features():
    assert name_and_features("KID-pixels") == ("KID", "pixels")
    assert name_and_features("bpd") == ("bpd", "")
    assert name_and_features("FID") == ("FD", "inception2015")
    assert metric_info("FID") == metric_info("FD-pixels")
    assert on_several_features(METRICS) == {"FD": ["FD-pixels", "FID"]}
    assert on_several_features(["FD-pixels", "SW-pixels", "bpd"]) == {}


def test_one_table_has_a_column_for_each_kind_of_features():
    text = render(made())
    assert text.count("on several features") == 1
    *_, table = text[: text.index("50 images per cell")].strip().split("\n\n")
    title, *rows = table.splitlines()
    assert title == "lsd, ect: FD on several features"
    assert [row.split() for row in rows] == [
        ["sampler", "@", "calls", "pixels", "inception2015"],
        ["lsd", "flow_map", "@", "1", "0.300*", "5.00"],
        ["ect", "flow_map", "@", "1", "0.500", "2.00*"],
        ["lsd", "flow_map", "@", "2", "0.200*", "4.00*"],
        ["ect", "flow_map", "@", "2", "-", "-"],
        ["floor", "0.100"],
    ]


def test_the_page_has_them_too(tmp_path):
    page = Page(write(tmp_path, made())["report.html"].read_text())
    assert page.data["features"] == [{"name": "FD", "metrics": ["FD-pixels", "FID"], "on": ["pixels", "inception2015"]}]
    (group,) = page.data["groups"]
    assert [group["answers"][metric]["at"]["1"]["best"] for metric in ("FD-pixels", "FID")] == [0, 1]


def test_what_a_run_was_trained_on_is_marked_and_never_the_best(tmp_path):
    comparison = made(trained=["FD-pixels"])
    assert Comparison.from_json(comparison.to_json()) == comparison
    assert comparison.best(["lsd", "ect"], 1, "FD-pixels") == [("ect", "flow_map")]
    assert comparison.best(["lsd", "ect"], 1, "mind-pixels") == [("lsd", "flow_map")]
    assert {gap.metric for gap in comparison.gaps} == {"FID", "mind-pixels"}
    assert {change.metric for change in comparison.changes} == {"FID", "mind-pixels"}
    text = render(comparison)
    rows = [line.split() for line in text.splitlines() if line.startswith(("lsd flow_map ", "ect flow_map "))]
    assert rows[0] == ["lsd", "flow_map", "0.300†", "0.200†"]
    assert rows[1] == ["ect", "flow_map", "0.500*", "-"]
    assert ["lsd", "flow_map", "@", "1", "0.300†", "5.00"] in rows
    written = write(tmp_path, comparison)
    (group,) = Page(written["report.html"].read_text()).data["groups"]
    assert [row["trained"] for row in group["rows"]] == [["FD-pixels"], []]
    answer = group["answers"]["FD-pixels"]
    assert answer["sentence"] == "ect flow_map has FD-pixels 0.500 at 1 call"
    assert [*answer["at"]] == ["1"]
    assert answer["at"]["1"]["reason"] == "The only one with a value at 1 call."
    assert (
        ">lsd flow_map † " in written["curve.svg"].read_text() or ">lsd flow_map †<" in written["curve.svg"].read_text()
    )
    lines = written["table.csv"].read_text().splitlines()
    assert [line.rsplit(",", 1)[1] for line in lines[:4]] == ["trained on", "FD-pixels", "FD-pixels", ""]


def test_where_all_were_trained_on_it_nothing_is_best():
    comparison = made(trained=["FD-pixels", "FID", "mind-pixels"])
    alone = replace(comparison, runs=["lsd"], groups=[["lsd"]], cells=[c for c in comparison.cells if c.run == "lsd"])
    text = render(alone)
    assert text.count("†") == 10
    assert "*" not in text[: text.index("50 images per cell")]
    assert page_data(alone)["groups"][0]["answers"]["FD-pixels"]["at"] == {}
