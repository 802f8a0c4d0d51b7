"""A run folder with what does not belong there: one line, status 2, at once; nothing is lost, nothing is echoed."""

import json
import os
import shutil

import numpy as np
import pytest
from one_line import refused

from fewstep.train.utils import npz
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.sealed import Changed, read_json, sealed_json

SECRET = "hunter2:x:0:0:token/of/another"


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(digits_run, tmp_path / "run")


def named(run, name, text=None):
    """Put a text, or a pipe, in the place of a file of the run."""
    (run / name).unlink(missing_ok=True)
    if text is None:
        os.mkfifo(run / name)
    else:
        (run / name).write_text(text)


@pytest.mark.parametrize("name", ["config.gin", "run.json", "checkpoints/6/digests.json"])
def test_pipes_in_a_run_are_refused(fewstep, run, name):
    named(run, name)
    refused(fewstep("sample", run, "--out", run / "a.png"), name.split("/")[-1], "is a named pipe, not a file")


@pytest.mark.slow
def test_a_pipe_in_the_place_of_the_log_is_refused(fewstep, run, tiny):
    named(run, "metrics.jsonl")
    options = [word for override in tiny for word in ("--set", override)]
    refused(fewstep("train", "configs/digits/flow.gin", "--run", run, *options), "metrics.jsonl is a named pipe")
    assert "metrics.jsonl is a named pipe, not a file" in fewstep("runs", run)[1]


def test_a_config_that_is_a_pipe_or_a_folder(fewstep, tmp_path):
    os.mkfifo(tmp_path / "a.gin")
    refused(fewstep("config", tmp_path / "a.gin"), "a.gin is a named pipe, not a file")
    refused(fewstep("config", "/dev/zero"), "/dev/zero is a device, not a file")
    (tmp_path / "large.gin").write_text("#" * (2 << 20))
    refused(fewstep("config", tmp_path / "large.gin"), "large.gin is larger than 1 MiB")


@pytest.mark.parametrize("where", ["/dev/zero", "/etc/passwd", "../secret.gin", "link.gin"])
def test_a_config_includes_only_what_is_beside_it(fewstep, tmp_path, where):
    (tmp_path / "secret.gin").write_text(SECRET)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link.gin").symlink_to(tmp_path / "secret.gin")
    (tmp_path / "mine" / "a.gin").write_text(f"include '{where}'\n")
    result = fewstep("config", tmp_path / "mine" / "a.gin")
    refused(result, "a.gin, line 1", "is neither in", "copy it there")
    assert "hunter2" not in result[2]
    assert "root" not in result[2].replace(str(tmp_path), "")


def test_what_is_beside_a_config_is_included(fewstep, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b.gin").write_text("train.seed = 3\n")
    (tmp_path / "a.gin").write_text("include 'parts/b.gin'\ninclude 'c.gin'\n")
    shutil.copy("configs/points/moons.gin", tmp_path / "c.gin")
    status, out, err = fewstep("config", tmp_path / "a.gin")
    assert status == 0, err
    assert "train.seed = 3" in out
    os.mkfifo(tmp_path / "d.gin")
    (tmp_path / "a.gin").write_text("include 'd.gin'\n")
    refused(fewstep("config", tmp_path / "a.gin"), "d.gin is a named pipe, not a file")


def test_the_config_of_a_run_includes_nothing(fewstep, run):
    (run / "b.gin").write_text("train.seed = 3\n")
    named(run, "config.gin", "include 'b.gin'\n")
    refused(fewstep("sample", run, "--out", run / "a.png"), "config.gin, line 1", "includes no other")


@pytest.mark.parametrize(
    "text", ['{"classes": Infinity}', "[" * 100_000, SECRET, '{"shape": [8, 8, 1], "classes": "x"}']
)
def test_a_damaged_description_says_no_more_than_that(fewstep, run, text):
    named(run, "run.json", text)
    result = fewstep("sample", run, "--out", run / "a.png")
    refused(result, "run.json is damaged", "remove it")
    assert "hunter2" not in result[2]
    assert len(result[2].splitlines()[-1]) < 400


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_read(fewstep, run, monkeypatch):
    """Nothing could be saved there, which showed only after the first steps."""
    place = run.with_name("a\udcffb")
    train = ("train", "configs/folder/flow.gin", "--set", "folder.path=none", "--run")
    refused(fewstep(*train, place / "run"), "a\\udcffb/run: the name is not UTF-8", "rename it")
    assert not place.exists()
    run.rename(place)
    refused(fewstep("sample", place), "a\\udcffb: the name is not UTF-8")
    (place / "inner").mkdir()
    monkeypatch.chdir(place / "inner")
    refused(fewstep(*train, "run"), "a\\udcffb/inner/run: the name is not UTF-8")


@pytest.mark.slow
def test_an_empty_step_is_passed_over_and_set_aside(fewstep, run, tiny):
    (run / "checkpoints" / ("9" * 30)).mkdir()
    status, _, err = fewstep("sample", run, "--count", "2", "--out", run / "a.png")
    assert status == 0, err
    assert f"{'9' * 30} is no checkpoint, and is passed over" in err
    assert "6 of 6" in fewstep("runs", run)[1]
    options = [word for override in tiny for word in ("--set", override)]
    assert fewstep("train", "configs/digits/flow.gin", "--run", run, *options)[0] == 0
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["3", "6", f"{'9' * 30}.aside"]


@pytest.mark.slow
def test_a_run_with_nothing_but_an_empty_step_starts_anew(fewstep, run, tiny):
    for step in ("3", "6"):
        shutil.rmtree(run / "checkpoints" / step)
    (run / "checkpoints" / "9999").mkdir()
    refused(fewstep("sample", run, "--out", run / "a.png"), "has no checkpoint yet")
    options = [word for override in tiny for word in ("--set", override)]
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", run, *options)
    assert status == 0, err
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["3", "6", "9999.aside"]


def options(tiny):
    return [word for override in tiny for word in ("--set", override)]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("config.gin", "UNet.base = 8", "UNet.base = 9", marks=pytest.mark.slow),
        ("config.gin", "%VELOCITY", "%V"),
        pytest.param("run.json", '"classes": 10', '"classes": 11', marks=pytest.mark.slow),
    ],
)
def test_a_change_of_what_a_run_means_is_refused_and_can_be_accepted(fewstep, run, tiny, name, old, new):
    edit(run / name, old, new)
    words = ("sample", run, "--count", "2", "--out", run / "a.png")
    changed = (f"{name} has changed since fewstep wrote it", f"fewstep seal {run}")
    refused(fewstep(*words), *changed)
    refused(fewstep("train", "configs/digits/flow.gin", "--run", run, *options(tiny)), *changed)
    edit(run / name, new, old)
    assert fewstep(*words)[0] == 0
    edit(run / name, old, new)
    status, _, err = fewstep("seal", run)
    assert (status, err.splitlines()) == (0, [f"{run / name}: sealed; it had changed since it was written"])
    assert "has changed" not in fewstep(*words)[2]


@pytest.mark.parametrize("name", ["stats/skips.json", "classifier.npz", "compare/table.json", "stats/variance.npz"])
def test_whatever_a_run_keeps_is_sealed(fewstep, run, name):
    path = run / name
    if path.suffix == ".json":
        write_atomic(path, sealed_json({"factors": [0.857, 1.0]}))
        edit(path, "0.857", "0.957")
        read = read_json
    else:
        npz.write(path, kernel=np.ones((3, 3)), told="{}")
        arrays = npz.read(path)
        write_atomic(path, npz.encode(**arrays | {"kernel": np.ones((1, 3)), "sha256": np.load(path)["sha256"]}))
        read = npz.read
    with pytest.raises(Changed, match=rf"{path.name} has changed since fewstep wrote it \(`fewstep seal {run}`"):
        read(path)
    assert f"{path}: sealed; it had changed" in fewstep("seal", run)[2]
    assert read(path)
    assert "every seal fits" in fewstep("seal", run)[2]


@pytest.mark.slow
def test_a_run_from_before_opens_with_a_line_and_is_sealed_when_trained(fewstep, run, tiny):
    text = (run / "config.gin").read_text().splitlines(keepends=True)
    assert text[-1].startswith("# sha256: ")
    (run / "config.gin").write_text("".join(text[:-1]))
    told = json.loads((run / "run.json").read_text())
    del told["sha256"]
    (run / "run.json").write_text(json.dumps(told, indent=2) + "\n")
    npz.write(run / "classifier.npz", kernel=np.ones(3))
    np.savez(run / "classifier.npz", kernel=np.ones(3))
    status, _, err = fewstep("sample", run, "--count", "2", "--out", run / "a.png")
    assert status == 0, err
    assert err.count(f"{run} is unsealed") == 1
    status, _, err = fewstep("train", "configs/digits/flow.gin", "--run", run, *options(tiny))
    assert status == 0, err
    assert (run / "config.gin").read_text().splitlines(keepends=True) == text
    assert "every seal fits" in fewstep("seal", run)[2]
    assert "unsealed" not in fewstep("sample", run, "--count", "2", "--out", run / "a.png")[2]


def test_seal_needs_a_run_and_says_what_is_damaged(fewstep, run, tmp_path):
    refused(fewstep("seal", tmp_path), "is not a run")
    (run / "run.json").write_text("{")
    refused(fewstep("seal", run), "run.json is damaged")


def test_a_copy_of_the_config_of_a_run_is_a_config(fewstep, run, tmp_path):
    (tmp_path / "mine.gin").write_bytes((run / "config.gin").read_bytes())
    status, out, err = fewstep("config", tmp_path / "mine.gin")
    assert status == 0, err
    assert "sha256" not in out
