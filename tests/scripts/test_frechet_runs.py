"""FD-loss from the command line: its features are recorded, marked wherever they measure the run, and never decide."""

import csv
import json
import shutil

import numpy as np
import pytest
from one_line import refused
from report_page import Page
from trained_run import trained

import fewstep as package
from fewstep.cli.errors import UserError
from fewstep.train.run.run import read_description

CONFIG = "configs/digits/frechet.gin"
POINTS = ("train.objective=@frechet()", "frechet.features='pixels'", "frechet.learned='instant'", "frechet.nfe=3")
POINTS += (
    "train.steps=4",
    "train.preview_every=4",
    "train.batch_size=32",
    "MLP.width=32",
    "points.count=1000",
    "points.held_out=200",
)


@pytest.fixture(scope="module")
def runs(digits_run, tiny, tmp_path_factory):
    """A flow map with a classifier, and what FD-loss on its features makes of it."""
    from fewstep.cli.options import Reading
    from fewstep.cli.verbs.classifier import main

    folder = tmp_path_factory.mktemp("frechet")
    trained("configs/digits/lsd.gin", folder / "lsd", tiny, init_from=digits_run)
    main(str(folder / "lsd"), 60, 0, Reading())
    trained(CONFIG, folder / "frechet", tiny, init_from=folder / "lsd")
    return folder


def on_points(moons_run, folder, *more):
    trained("configs/points/moons.gin", folder, [*POINTS, *more], init_from=moons_run)
    return folder


@pytest.mark.slow
def test_a_flow_goes_on_through_its_calls(moons_run, tmp_path, fewstep):
    """The features are recorded, also for runs that start from it; `recommend` does not decide by them, and compare
    marks them and names no best."""
    folder = on_points(moons_run, tmp_path / "a")
    assert read_description(folder)["trained_features"] == [["points", ""]]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["frechet_points"]) for line in lines)
    options = ["MLP.width=32", "train.steps=2", "points.count=1000", "points.held_out=200"]
    trained("configs/points/moons.gin", tmp_path / "b", options, init_from=folder)
    assert read_description(tmp_path / "b")["trained_features"] == [["points", ""]]
    for run in (folder, tmp_path / "b"):
        words = ("recommend", run, "--passes", 4, "--count", 16)
        refused(fewstep(*words), "trained on the features points", "choose others")
    status, out, err = fewstep("compare", folder, moons_run, "--nfe", "2,4", "--sampler", "ddim", "--count", 30)
    assert status == 0, err
    assert "† a was trained on the features of FD-points, SW-points" in " ".join(out.split())
    ours, other = (
        next(line for line in out.splitlines() if line.startswith(name)) for name in ("a ddim", "moons ddim")
    )
    assert (ours.count("†"), ours.count("*"), other.count("*")) == (2, 0, 2)
    status, out, err = fewstep("compare", folder, "--nfe", "2,4", "--sampler", "ddim,heun", "--count", 30, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["trained"] == {"a": ["FD-points", "SW-points"]}
    assert told["gaps"] == told["changes"] == []
    rows = list(csv.DictReader((folder / "compare" / "table.csv").open()))
    assert [row["trained on"] for row in rows] == ["FD-points SW-points"] * len(told["cells"]) + [""]
    page = Page((folder / "compare" / "report.html").read_text())
    assert page.data["groups"][0]["rows"][0]["trained"] == ["FD-points", "SW-points"]
    assert page.data["groups"][0]["answers"]["FD-points"]["at"] == {}
    assert "† a was trained on" in page.text
    assert "†" in (folder / "compare" / "curve.svg").read_text()
    status, out, err = fewstep("runs", folder)
    assert status == 0, err
    assert "@" not in out.split("best:")[0]  # no best
    assert "†: on features that the run was trained on" in " ".join(out.split())


@pytest.mark.slow
def test_it_resumes_with_the_features_it_began_with(moons_run, tmp_path):
    folder = on_points(moons_run, tmp_path / "a")
    trained("configs/points/moons.gin", folder, POINTS)  # from the run that it was started from
    with pytest.raises(UserError, match="started from"):
        trained("configs/points/moons.gin", folder, POINTS, init_from=folder)


@pytest.mark.slow
def test_from_python(moons_run, tmp_path):
    parts = {"data": package.train.data.points(count=1000, held_out=200), "network": package.MLP, "steps": 2}
    first = package.train_run(tmp_path / "a", **parts)
    objective = package.objectives.Frechet("pixels", learned="instant", nfe=2)
    run = package.train_run(tmp_path / "b", objective=objective, init_from=first, **parts)
    assert read_description(run.folder)["trained_features"] == [["points", ""]]
    assert run.denoiser.capabilities == {"instant"}
    assert np.isfinite(run.draw("ddim", 2, range(4))).all()


@pytest.mark.slow
def test_a_flow_map_goes_on_with_the_features_of_a_classifier(runs, fewstep, tmp_path):
    lsd, frechet = runs / "lsd", runs / "frechet"
    ((name, _),) = read_description(frechet)["trained_features"]
    assert name == "classifier"
    words = ("--nfe", 1, "--count", 20, "--features", "pixels,classifier", "--metric", "FD,mind,accuracy")
    status, out, err = fewstep("compare", lsd, frechet, *words, "--out", tmp_path, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["trained"] == {"frechet": ["FD-classifier", "mind-classifier", "accuracy-classifier"]}
    judged = {gap["metric"] for gap in told["gaps"] if "frechet" in (gap["run"], gap["best_run"])}
    assert judged == {"FD-pixels", "mind-pixels"}
    assert told["models"]["frechet"]["trained_features"] == ["classifier"]
    status, out, err = fewstep("compare", lsd, frechet, *words, "--out", tmp_path)
    table = out[out.index("FD on several features") :].splitlines()
    assert next(line for line in table if line.startswith("frechet")).endswith("†")
    shutil.copy(lsd / "classifier.npz", frechet)
    recommend = ("recommend", frechet, "--passes", 1, "--count", 16)
    refused(fewstep(*recommend, "--features", "classifier"), "trained on the features classifier")
    status, _, err = fewstep(*recommend, "--features", "pixels")
    assert status == 0, err


@pytest.mark.slow
def test_another_classifier_is_other_features(runs, fewstep, tiny, tmp_path):
    """By its digest: it may judge, and a run does not resume with it."""
    copied = [shutil.copytree(runs / name, tmp_path / name) for name in ("lsd", "frechet")]
    assert fewstep("classifier", copied[0], "--steps", 20, "--seed", 1)[0] == 0
    words = ("--nfe", 1, "--count", 20, "--features", "classifier", "--metric", "FD", "--out", tmp_path / "out")
    status, out, err = fewstep("compare", *copied, *words, "--json")
    assert status == 0, err
    assert json.loads(out)["trained"] == {}
    shutil.copy(copied[0] / "classifier.npz", runs / "lsd" / "other.npz")
    kept = (runs / "lsd" / "classifier.npz").read_bytes()
    try:
        shutil.copy(copied[0] / "classifier.npz", runs / "lsd" / "classifier.npz")
        with pytest.raises(UserError, match="the features classifier have changed since the run"):
            trained(CONFIG, copied[1], tiny)
    finally:
        (runs / "lsd" / "classifier.npz").write_bytes(kept)


@pytest.mark.slow
def test_what_is_refused_before_anything_is_written(fewstep, moons_run, digits_run, tiny, tmp_path):
    small = [word for option in tiny for word in ("--set", option)]
    begin, run = ("train", CONFIG, "--run", tmp_path / "a"), ("--init-from", digits_run)
    refused(fewstep(*begin, *small), "jumps to any time", "give --init-from RUN")
    refused(fewstep(*begin, *run, *small), "has no classifier", "fewstep classifier")
    pixels = ("--set", "frechet.features='pixels'")
    refused(fewstep(*begin, *run, *pixels, *small), "requires jumps to any time", "learned velocities", "`learned`")
    for features, parts in {
        "pixel": ("frechet.features pixel", "path of a weights file"),
        "": ("separated by commas",),
        "no/such.npz": ("no such file",),
    }.items():
        refused(fewstep(*begin, *run, "--set", f"frechet.features={features!r}", *small), *parts)
    refused(
        fewstep(*begin, *run, *pixels, "--set", "train.accumulate=2", *small), "whole batch", "train.accumulate = 1"
    )
    refused(fewstep(*begin, *run, *pixels, "--set", "frechet.queue=20", *small), "not a multiple of the batch of 16")
    refused(fewstep(*begin, *run, *pixels, "--set", "frechet.learned='all'", *small), "frechet.learned")
    refused(fewstep(*begin, *run, *pixels, "--set", "frechet.known=(1,)", *small), "known")
    assert not (tmp_path / "a").exists()


def test_paths_of_features_are_absolute(fewstep):
    status, out, err = fewstep("config", CONFIG, "--set", "frechet.features='pixels, a/b.npz,classifier'")
    assert status == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("frechet.features"))
    _, path, last = line.split("'")[1].split(",")
    assert (path[0], path[-8:], last) == ("/", "/a/b.npz", "classifier")
