"""Data sets of Hugging Face `datasets`, saved and read again."""

import sys

import datasets
import numpy as np
import pytest
from image_files import PIXELS, as_bytes
from PIL import Image
from refused import message

from fewstep.train.data import huggingface

LABELS = [i % 3 for i in range(24)]


def table(start=0, stop=24, **more):
    columns = {"image": list(PIXELS[start:stop]), "label": LABELS[start:stop], "name": ["x"] * (stop - start)}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(5), "name": datasets.Value("string")}
    return datasets.Dataset.from_dict(columns | more, features=datasets.Features(features))


def saved(path, data):
    data.save_to_disk(path)
    return path


def test_a_data_set_without_splits(tmp_path):
    data = huggingface(saved(tmp_path / "hub", table()), size=8, held_out=6)
    assert (data.name, data.shape, data.classes, len(data.held_out)) == ("hub", (8, 8, 3), 5, 6)
    for split in (data.train, data.held_out):
        image, label, *_ = split[:]
        np.testing.assert_array_equal(as_bytes(image), PIXELS[split.index])
        np.testing.assert_array_equal(label, np.array(LABELS)[split.index])


@pytest.mark.parametrize(
    ("names", "apart"), [(("train", "test"), True), (("train", "validation"), True), (("train", "extra"), False)]
)
def test_a_test_split_is_held_out(tmp_path, names, apart):
    parts = datasets.DatasetDict({names[0]: table(0, 20), names[1]: table(20)})
    data = huggingface(saved(tmp_path, parts), size=8)
    assert len(data.held_out) == (4 if apart else 2)
    seen = as_bytes(data.train[:].image)
    assert sorted(map(bytes, seen)) == sorted(map(bytes, PIXELS[:20] if apart else PIXELS[data.train.index]))
    if apart:
        np.testing.assert_array_equal(as_bytes(data.held_out[:].image), PIXELS[20:])
        assert not np.array_equal(seen, PIXELS[:20])  # shuffled: classes often come one after another


def test_any_image_any_column_and_no_labels(tmp_path):
    grey = [Image.fromarray(PIXELS[i, :, :, 0]) for i in range(24)]
    path = saved(tmp_path, table(image=grey).rename_columns({"image": "img", "label": "fine"}))
    data = huggingface(path, size=8, channels=1, image="img", label=None)
    np.testing.assert_array_equal(as_bytes(data.train[:].image)[..., 0], PIXELS[data.train.index, :, :, 0])
    assert (data.classes, data.train[:].label) == (0, None)
    assert huggingface(path, size=8, image="img", label="fine").classes == 5
    assert "no column 'image' (it has img, fine, name)" in message(lambda: huggingface(path))
    text = message(lambda: huggingface(path, image="img"))
    assert "no column 'label' (it has img, fine, name): set huggingface.label, or to None for no labels" in text
    assert "column name has feature Value" in message(lambda: huggingface(path, image="name", label=None))
    assert "column name has dtype" in message(lambda: huggingface(path, image="img", label="name"))


@pytest.mark.parametrize(("cell", "why"), [(b"nothing", "not an image"), (None, "missing")])
def test_a_bad_image_is_found_when_it_is_read(tmp_path, cell, why):
    images = [{"bytes": cell, "path": None} if cell else None, *table()["image"][1:]]
    data = huggingface(saved(tmp_path, table(image=images)), size=8, held_out=1)
    whole = [data.train, data.held_out]
    split = next(split for split in whole if 0 in split.index)
    assert f"train: image 0 cannot be decoded ({why})" in message(lambda: split[:])


def test_folders_that_are_refused(tmp_path, monkeypatch):
    assert "no such folder" in message(lambda: huggingface(tmp_path / "nowhere"), FileNotFoundError)
    assert "save_to_disk" in message(lambda: huggingface(tmp_path))
    path = saved(tmp_path / "hub", datasets.DatasetDict({"train": table(), "test": table(0, 3)}))
    assert "no split 'trian' (it has train, test)" in message(lambda: huggingface(path, split="trian"))
    assert "huggingface.channels is a whole number that is 1 or 3" in message(lambda: huggingface(path, channels=2))
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'fewstep[hf]'" in message(lambda: huggingface(path))
