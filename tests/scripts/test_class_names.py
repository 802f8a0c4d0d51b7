"""Names of classes: of folders, packed folders and labels that are texts; in --label, sheets and pages."""

import json

import image_files
import numpy as np
import pytest
from one_line import refused
from PIL import Image
from refused import message
from report_page import Page

from fewstep.cli.config.open_run import open_run
from fewstep.train.data import array_record, arrays, folder, npy, npz
from fewstep.train.data.packing import pack
from fewstep.train.logs.images import sheet, titled

WORDS = np.array(["dog", "cat", "dog", "ant"] * 10)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 3)).astype(np.float32)


def test_texts_are_labels_in_the_order_of_their_names(tmp_path):
    held_out = {"held_out_images": IMAGES[:3], "held_out_labels": np.array(["cat", "dog", "bee"])}
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=WORDS, **held_out)
    np.save(tmp_path / "images.npy", np.zeros((40, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", WORDS)
    found = npz(tmp_path / "set.npz")
    assert (found.classes, found.names) == (4, ("ant", "bee", "cat", "dog"))
    assert found.held_out[:].label.tolist() == [2, 3, 1]
    for data in (
        arrays(IMAGES, WORDS),
        arrays(IMAGES, WORDS.tolist()),
        npy(tmp_path / "images.npy", str(tmp_path / "labels.npy")),
    ):
        assert (data.classes, data.names) == (3, ("ant", "cat", "dog"))
        everything = np.concatenate([data.train[:].label, data.held_out[:].label])
        assert np.bincount(everything).tolist() == [10, 10, 20]


@pytest.fixture(scope="module")
def pets(tiny, tmp_path_factory):
    """A tiny run on a folder of cats and dogs."""
    from trained_run import trained

    root = tmp_path_factory.mktemp("pets")
    image_files.write(root / "photos")
    trained(
        "configs/folder/small.gin",
        root / "run",
        [*tiny, f"folder.path={root / 'photos'}", "folder.size=8", "train.preview_every=100"],
    )
    return root


@pytest.mark.slow
def test_folders_keep_them_packed_or_not(pets, tmp_path):
    assert folder(pets / "photos", size=8).names == ("cat", "dog")
    pack(pets / "photos", tmp_path / "packed", size=8)
    assert array_record(tmp_path / "packed").names == ("cat", "dog")


@pytest.mark.slow
def test_labels_are_names_or_numbers(fewstep, pets, tmp_path):
    run = pets / "run"
    for label, columns in (("dog", None), ("dog,cat", 2), ("1,0", 2)):
        status, _, err = fewstep("sample", run, "--count", 4, "--nfe", 1, "--label", label, "--out", tmp_path / "a.png")
        assert status == 0, err
        found = np.load(tmp_path / "a.npz")["labels"].tolist()
        assert found == ([1] * 4 if columns is None else [1, 0, 1, 0])
    refused(fewstep("sample", run, "--label", "dgo"), "no class is called 'dgo'", "did you mean 'dog'?")
    opened = open_run(run)
    assert opened.names == ("cat", "dog")
    np.testing.assert_array_equal(opened.draw("ddim", 1, [7], label="dog"), opened.draw("ddim", 1, [7], label=1))
    assert json.loads((run / "run.json").read_text())["names"] == ["cat", "dog"]


@pytest.mark.slow
def test_columns_of_a_sheet_have_titles(fewstep, pets, tmp_path):
    status, _, err = fewstep("sample", pets / "run", "--count", 6, "--nfe", 1, "--out", tmp_path / "a.png")
    assert status == 0, err
    plain = sheet(np.load(tmp_path / "a.npz")["images"], columns=2)  # its columns are wide enough
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), titled(plain, ["cat", "dog"]))
    above = titled(plain, ["cat", "dog"])[: -len(plain)]
    assert all((half < 128).any() for half in np.array_split(above, 2, axis=1))  # something is written on both


@pytest.mark.slow
def test_images_that_bring_their_labels_stay_in_a_square(fewstep, pets, tmp_path):
    words = ("--count", 6, "--nfe", 2, "--out")
    assert fewstep("sample", pets / "run", *words, tmp_path / "a.png")[0] == 0
    assert fewstep("sample", pets / "run", "--from", tmp_path / "a.npz", *words, tmp_path / "b.png")[0] == 0
    drawn = np.load(tmp_path / "b.npz")
    assert drawn["labels"].tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), sheet(drawn["images"]))


def test_labels_that_do_not_fit_are_refused(tmp_path):
    def mixed(train, test, **more):
        np.savez(tmp_path / "set.npz", images=IMAGES, labels=train, held_out_images=IMAGES[:2], held_out_labels=test)
        return message(lambda: npz(tmp_path / "set.npz", **more))

    assert "numbers and names" in mixed(WORDS, np.array([0, 1]))
    assert "shape (2, 1)" in mixed(WORDS, np.array([["cat"], ["dog"]]))
    assert "no text in UTF-8" in mixed(WORDS.astype("S"), np.array([b"\xe9", b"cat"]))
    assert "3 names, but classes = 12" in mixed(WORDS, np.array(["cat", "dog"]), classes=12)


@pytest.mark.slow
def test_the_page_of_a_comparison_has_them(fewstep, pets, tmp_path):
    status, _, err = fewstep("compare", pets / "run", "--nfe", 1, "--sampler", "ddim", "--count", 8, "--out", tmp_path)
    assert status == 0, err
    assert Page((tmp_path / "report.html").read_text()).data["groups"][0]["classes"] == ["cat", "dog"]


@pytest.mark.slow
def test_other_names_are_other_data(fewstep, tiny, tmp_path):
    image_files.write(tmp_path / "photos")
    words = [word for one in (*tiny, f"folder.path={tmp_path / 'photos'}", "folder.size=8") for word in ("--set", one)]
    train = ("train", "configs/folder/small.gin", "--run", tmp_path / "run", *words)
    assert fewstep(*train)[0] == 0
    (tmp_path / "photos/cat").rename(tmp_path / "photos/ape")
    refused(fewstep(*train), "photos has changed", "other names of classes")
