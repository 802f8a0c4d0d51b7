"""Comparisons: what is drawn, what is not drawn again, and what is told of it."""

from dataclasses import replace

import numpy as np
import pytest

from fewstep.diffusion.levers import clip_x0
from fewstep.evaluation import drawing
from fewstep.evaluation.compare import compare
from fewstep.evaluation.distances import frechet
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.features import Pixels
from fewstep.evaluation.images import numbered
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.data import Arrays, Dataset, Split

ABOUT = {"command": "", "environment": {}}


def lines(*names):
    return [Line(name, SAMPLERS[name]) for name in names]


@pytest.fixture
def drawn(monkeypatch):
    """The network calls of every batch that is drawn."""
    found = []

    def counted(den, table, *arguments, **options):
        for images in draw_batches(den, table, *arguments, **options):
            found.append(table.nfe)
            yield images

    draw_batches = drawing.draw_batches
    monkeypatch.setattr(drawing, "draw_batches", counted)
    return found


def test_nothing_is_drawn_twice(oracle_run, drawn, tmp_path):
    run, options = oracle_run(), {"folder": tmp_path, "count": 40, "batch": 20, **ABOUT}
    first = compare([run], lines("ddim", "ddpm"), [2, 4], **options)
    assert sorted(drawn) == [2, *[2] * 4, *[4] * 4]  # one batch more to compile
    drawn.clear()
    assert compare([run], lines("ddim", "ddpm"), [2, 4], **options) == first
    assert compare([run], lines("ddpm"), [4], metrics=["SW"], **options).cells[0].metrics.keys() == {"SW-points"}
    assert not drawn
    more = compare([run], lines("ddim", "ddpm", "dpmpp_3m"), [2, 4], **options)
    assert sorted(drawn) == [2, *[2] * 2, *[4] * 2]  # of the third, which remembers
    assert more.cells[:4] == first.cells
    drawn.clear()
    more = compare([run], lines("ddim", "pndm"), [2, 4], **options)
    assert sorted(drawn) == [2, *[2] * 2]  # which remembers 12; its table at 4 calls is that at 2
    assert [cell for cell in more.cells if cell.line == "ddim"] == [c for c in first.cells if c.line == "ddim"]


def test_a_table_of_two_budgets_is_drawn_once(oracle_run, drawn, tmp_path):
    result = compare([oracle_run()], lines("heun"), [3, 4], folder=tmp_path, count=20, **ABOUT)
    assert drawn == [3, 3]
    assert result.cells[0].metrics == result.cells[1].metrics


def test_all_that_is_compiled_is_before_the_clock(oracle_run, drawn, tmp_path):
    """Samplers that do not remember, that remember much, and what levers set, be they whole numbers or not."""
    swept = [Line(f"clip {high}", SAMPLERS["ddim"], levers=(clip_x0(-1, high),)) for high in (1, 1.5)]
    compare([oracle_run()], [*lines("ddim", "pndm"), *swept], [20], folder=tmp_path, count=10, **ABOUT)
    assert len(drawn) == 4 + 3


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"count": 30}, {"batch": 10}, {"repeats": 2}, {"run": ("cloud", 0.3, 0.5)}]
)
def test_other_images_are_drawn(oracle_run, drawn, tmp_path, other):
    options = {"folder": tmp_path, "count": 20, "batch": 20, **ABOUT}
    compare([oracle_run()], lines("ddim"), [2], **options)
    drawn.clear()
    run = oracle_run(*other.pop("run", ()))
    compare([run], lines("ddim"), [2], **options | other)
    assert drawn


def test_cells_hold_the_images_that_draw_makes(oracle_run, tmp_path):
    run = oracle_run()
    result = compare([run], lines("dpmpp_2m"), [8], folder=tmp_path, count=300, batch=100, **ABOUT)
    table = table_at(SAMPLERS["dpmpp_2m"], run.denoiser.process, 8)
    images = draw_many(run.denoiser, table, range(300), (2,), batch=100)
    (path,) = (tmp_path / "cells").iterdir()
    np.testing.assert_allclose(np.load(path)["images"], images, atol=1e-6)
    value = result.cell("cloud", "dpmpp_2m", 8).metrics["FD-points"].value
    assert value == pytest.approx(frechet(images, run.data.held_out[:].image), rel=1e-5)


def test_repeats_are_means_over_sets_of_seeds(oracle_run, tmp_path):
    run, options = oracle_run(), {"metrics": ["FD", "SW"], "count": 50, **ABOUT}
    both = compare([run], lines("ddim"), [4], folder=tmp_path / "a", repeats=2, seed=7, **options)
    sets = [compare([run], lines("ddim"), [4], folder=tmp_path / "b", seed=seed, **options) for seed in (7, 57)]
    for metric in ("FD-points", "SW-points"):
        values = [result.cells[0].metrics[metric] for result in sets]
        found = both.cells[0].metrics[metric]
        assert found.value == pytest.approx(np.mean([v.value for v in values]), rel=1e-6)
        assert found.high - found.value < max(v.high - v.value for v in values)


def test_lines_share_their_seeds_so_that_differences_are_sharper(oracle_run, tmp_path):
    result = compare([oracle_run()], lines("ddim", "dpmpp_2m", "ddpm"), [8], folder=tmp_path, count=200, **ABOUT)
    gap = next(g for g in result.gaps if g.metric == "FD-points" and {g.line, g.best} == {"ddim", "dpmpp_2m"})
    width = gap.difference.high - gap.difference.low
    assert width < 0.5 * (gap.difference.unpaired_high - gap.difference.unpaired_low)


def test_the_same_table_under_two_names_is_a_tie(oracle_run, tmp_path):
    twice = [Line("one", SAMPLERS["ddim"]), Line("two", SAMPLERS["ddim"])]
    result = compare([oracle_run()], twice, [4], folder=tmp_path, count=50, **ABOUT)
    assert result.best(["cloud"], 4, "FD-points") == [("cloud", "one"), ("cloud", "two")]
    assert all(gap.difference.value == gap.difference.low == gap.difference.high == 0 for gap in result.gaps)


def test_trajectories_converge_to_the_solution_from_the_same_noise(oracle_run, drawn, tmp_path):
    options = {"folder": tmp_path, "metrics": ["trajectory"], "count": 30, **ABOUT}
    result = compare([oracle_run()], lines("ddim", "dpmpp_2m", "ddpm"), [4, 8, 16, 32], **options)
    errors = {
        name: [result.cell("cloud", name, n).metrics["trajectory"].value for n in (4, 8, 16, 32)]
        for name in ("ddim", "dpmpp_2m")
    }
    assert all(np.diff(found).max() < 0 for found in errors.values())
    assert errors["ddim"][-1] / errors["ddim"][-2] == pytest.approx(0.5, rel=0.2)  # first order
    assert errors["dpmpp_2m"][-1] < 0.2 * errors["ddim"][-1]
    assert result.cell("cloud", "ddpm", 8).metrics == {}  # its end is not its beginning's
    assert drawn.count(200) == 1
    assert "trajectory" not in result.floors["cloud"]
    drawn.clear()
    compare([oracle_run()], lines("ddim", "ddpm"), [4, 8], **options | {"metrics": ["FD"]})
    assert not drawn  # what has a trajectory error is an image too


def test_a_sampler_that_diverges_has_no_numbers_and_harms_no_other(oracle_run, tmp_path):
    runs = [oracle_run("broken", mean=np.nan), oracle_run("whole")]
    result = compare(runs, lines("ddim", "ddpm"), [4], folder=tmp_path, count=30, **ABOUT)
    assert np.isnan(result.cell("broken", "ddim", 4).metrics["FD-points"]).all()
    assert np.isfinite(result.cell("whole", "ddim", 4).metrics["FD-points"]).all()
    assert result.best(["broken"], 4, "FD-points") == []
    assert {run for run, _ in result.best(["broken", "whole"], 4, "FD-points")} == {"whole"}


def test_runs_on_other_data_are_told_apart(oracle_run, tmp_path):
    runs = [oracle_run("one"), oracle_run("two"), oracle_run("three", mean=0.3), oracle_run("four", mean=0.4)]
    points = np.random.default_rng(1).normal(0.2, 0.5, (900, 2)).astype(np.float32)
    runs[1].data = Dataset("other", Split(Arrays(points[:500])), Split(Arrays(points[500:])), 0)
    theirs = {"theirs": points[:60]}
    options = {"folder": tmp_path, "count": 300, "images": theirs, **ABOUT}
    result = compare(runs[:2], lines("ddim"), [2], **options)
    assert result.notes[0].startswith("two has other data than one (other training images")
    assert result.groups == [["one"], ["two"]]
    assert result.gaps == []
    runs[3].data = runs[1].data
    result = compare(runs, lines("ddim"), [2], **options)
    assert result.notes[0].startswith("two, four have other data than one (other training images")
    assert result.groups == [["one", "three"], ["two", "four"]]
    assert {(gap.run, gap.best_run) for gap in result.gaps} == {("three", "one"), ("four", "two")}
    one, two = (result.reference_rows(group, "FD-points") for group in result.groups)
    assert [*one] == [*two] == ["floor", "theirs"]
    assert one["floor"] != two["floor"]
    assert one["theirs"] != two["theirs"]
    assert result.images["one"] == result.images["three"]


def test_the_seeds_of_runs_in_a_group_are_paired(oracle_run, tmp_path):
    """Two runs that differ a little are told apart on the same seeds, and would not be on others."""
    runs = [oracle_run("near"), oracle_run("off", std=0.53)]
    result = compare(runs, lines("ddim"), [16], folder=tmp_path, count=100, **ABOUT)
    (gap,) = (g for g in result.gaps if g.metric == "SW-points")
    d = gap.difference
    assert {gap.run, gap.best_run} == {"near", "off"}
    assert d.high - d.low < 0.5 * (d.unpaired_high - d.unpaired_low)


def test_the_best_of_runs_are_told_apart_on_the_same_seeds(oracle_run, tmp_path):
    runs = [oracle_run("near"), oracle_run("far", mean=0.5), oracle_run("same")]
    result = compare(runs, lines("dpmpp_2m", "ddpm"), [16], folder=tmp_path, count=100, **ABOUT)
    (group,) = result.groups
    assert result.rows(group) == [(run, line) for run in ("near", "far", "same") for line in ("dpmpp_2m", "ddpm")]
    value = {(c.run, c.line): c.metrics["FD-points"].value for c in result.cells}
    first = min(value, key=value.get)
    assert first[0] == "near"
    assert result.best(group, 16, "FD-points") == [first, ("same", first[1])]
    gaps = {(gap.run, gap.line): gap for gap in result.gaps if gap.metric == "FD-points"}
    assert gaps.keys() == value.keys() - {first}  # one verdict: all rows against the best of them
    assert {(gap.best_run, gap.best) for gap in gaps.values()} == {first}
    far, same = (gaps[run, first[1]].difference for run in ("far", "same"))
    assert far.low > 0
    assert far.value == pytest.approx(value["far", first[1]] - value[first])
    assert same == (0, 0, 0, *same[3:])
    assert same.unpaired_low < 0 < same.unpaired_high
    (leader,) = result.leaders(group, "FD-points")
    assert (leader.run, leader.line, leader.best_run) == ("same", first[1], "near")
    assert not {run for run, _ in result.ties(group, 16, "FD-points")} & {"far"}


def test_novelty_is_told_against_all_training_points(oracle_run, tmp_path):
    result = compare([oracle_run()], lines("ddim"), [16], folder=tmp_path, metrics=["novelty"], count=50, **ABOUT)
    assert result.cells[0].metrics["novelty-points"].value == pytest.approx(1.0, abs=0.3)
    assert result.best(["cloud"], 16, "novelty-points") == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"metrics": ["precision"], "count": 5}, "at least 6"),
        ({"metrics": ["FDinf"], "count": 19}, "at least 20"),
        ({"metrics": ["accuracy"], "count": 20}, "these runs have no classes"),
    ],
)
def test_what_cannot_be_told_is_said_before_anything_is_drawn(oracle_run, drawn, tmp_path, options, part):
    with pytest.raises(ValueError, match=part):
        compare([oracle_run()], lines("ddim"), [2], folder=tmp_path, **options, **ABOUT)
    assert not drawn


def test_small_samples_are_warned_of(oracle_run, tmp_path):
    few = compare([oracle_run()], lines("dpmpp_2m"), [32], folder=tmp_path, count=20, **ABOUT)
    assert "20 drawn, 400 held out" in few.notes[0]
    far = compare([oracle_run("far", mean=3.0)], lines("dpmpp_2m"), [32], folder=tmp_path, count=20, **ABOUT)
    assert far.notes == []
    broken = [oracle_run("broken", mean=np.nan), oracle_run()]
    mixed = compare(broken[::-1], lines("dpmpp_2m"), [32], folder=tmp_path, count=20, **ABOUT)
    assert [note.split(":")[0] for note in mixed.notes] == ["cloud, broken"]  # once for both
    alone = compare(broken[:1], lines("dpmpp_2m"), [32], folder=tmp_path, count=20, **ABOUT)
    assert alone.notes == []


def test_what_is_far_outside_the_data_is_warned_of(oracle_run, drawn, tmp_path):
    """By what is stored in the cells, if that is known."""
    options = {"folder": tmp_path, "metrics": ["SW"], "count": 300, **ABOUT}
    on = [Line(name, SAMPLERS[name], grid="log_snr") for name in ("pndm", "ddim")]
    result = compare([oracle_run()], on, [11, 40], **options)
    (note,) = result.notes
    assert note.startswith("pndm at 11 calls: far outside the data's range of -1 to 1 (root mean square ")
    assert note.endswith("see fewstep samplers --check pndm --nfe 11 --process Linear --grid log_snr")
    assert float(note.split("root mean square ")[1].split(")")[0]) > 1000
    drawn.clear()
    assert compare([oracle_run()], on, [11, 40], **options).notes == [note]
    both = compare([oracle_run(), oracle_run("same")], on, [11], **options).notes[-1]
    assert both.startswith("cloud pndm at 11 calls; same pndm at 11 calls: far")


def test_images_elsewhere_are_told_by_number_and_name(oracle_run, tmp_path):
    points = np.random.default_rng(1).normal(0.2, 0.5, (90, 2)).astype(np.float32)
    options = {"folder": tmp_path, "metrics": ["SW"], "count": 60, **ABOUT}
    notes = compare([oracle_run()], lines("ddim"), [2], images={"a": points, "b": points[:60]}, **options).notes
    assert notes == ["a: 90 images, not 60: the bias of FD differs."]
    with pytest.raises(ValueError, match="floor is a row of the tables: rename"):
        compare([oracle_run()], lines("ddim"), [2], images={"floor": points}, **options)
    assert numbered(["a", "a", "a 2", "b"]) == ["a", "a 2", "a 2 2", "b"]


def test_features_of_one_name_are_not_compared_at_once(oracle_run, tmp_path):
    with pytest.raises(ValueError, match="two kinds of features have the name points"):
        compare([oracle_run()], lines("ddim"), [2], folder=tmp_path, features=[Pixels((2,))] * 2, **ABOUT)


def test_a_floor_that_so_few_training_items_have_not_is_left_out(oracle_run, tmp_path):
    run = oracle_run()
    run.data = replace(run.data, train=Split(Arrays(run.data.train[:15].image)))
    result = compare([run], lines("ddim"), [2], folder=tmp_path, metrics=["FD", "FDinf"], count=30, **ABOUT)
    assert result.floors["cloud"].keys() == {"FD-points"}
    assert result.cells[0].metrics.keys() == {"FD-points", "FDinf-points"}
