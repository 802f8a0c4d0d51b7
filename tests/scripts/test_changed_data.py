"""A folder that has changed since a run began is neither trained on nor compared with."""

import json

import image_files
import pytest
from one_line import refused


@pytest.fixture
def trained(fewstep, tiny, tmp_path):
    """(the photos, () -> train the same run on them)."""
    photos = tmp_path / "photos"
    image_files.write(photos)
    overrides = [*tiny, f"folder.path={photos}", "folder.size=8"]
    words = [word for override in overrides for word in ("--set", override)]

    def train():
        return fewstep("train", "configs/folder/flow.gin", "--run", tmp_path / "run", *words)

    status, _, err = train()
    assert status == 0, err
    return photos, train


@pytest.mark.slow
def test_one_more_image(fewstep, trained, tmp_path):
    photos, train = trained
    assert train()[0] == 0
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    for i in range(3):
        (photos / "cat" / f"a{i}.png").write_bytes((photos / "cat" / "000.png").read_bytes())
    refused(train(), "photos has changed", str(tmp_path / "run"), "training images, not 22", "give another folder")
    compare = fewstep("compare", tmp_path / "run", "--nfe", 1, "--sampler", "ddim", "--count", 4)
    refused(compare, "photos has changed", str(tmp_path / "run"), "restore it")
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_as_many_but_others(trained, tmp_path):
    photos, train = trained
    (photos / "dog" / "023.png").rename(photos / "cat" / "000a.png")
    refused(train(), "photos has changed", "other training images")


@pytest.mark.slow
def test_a_run_from_before_there_were_fingerprints(trained, tmp_path):
    photos, train = trained
    path = tmp_path / "run/run.json"
    told = json.loads(path.read_text())
    del told["data"], told["sha256"]
    path.write_text(json.dumps(told))
    (photos / "cat" / "000.png").unlink()
    assert train()[0] == 0
