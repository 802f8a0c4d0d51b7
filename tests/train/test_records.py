"""ArrayRecord shards: what is packed comes back, whole or with an error that says so."""

import json

import image_files
import numpy as np
import pytest
from image_files import PIXELS, as_bytes
from refused import message

from fewstep.train.data import array_record, folder, packing
from fewstep.train.data.packing import pack
from fewstep.train.utils.sealed import opened_json, sealed_json


@pytest.fixture
def photos(tmp_path):
    image_files.write(tmp_path / "photos", classes=("dog", "ant", "cat"))
    return tmp_path / "photos"


def test_packed_images_are_those_of_the_folder(photos, tmp_path):
    packed = pack(photos, tmp_path / "deep" / "packed", size=6, shard_size=10)
    assert packed == (tmp_path / "deep" / "packed", (6, 6, 3), 24, 3, 3)
    one, other = folder(photos, size=6, seed=3), array_record(packed.out, seed=3)
    assert (other.name, other.shape, other.classes) == ("packed", (6, 6, 3), 3)
    for part in ("train", "held_out"):
        for a, b in zip(getattr(one, part)[:], getattr(other, part)[:], strict=True):
            np.testing.assert_array_equal(a, b)
    about = json.loads((packed.out / "dataset.json").read_text())
    assert about["classes"] == ["ant", "cat", "dog"]
    assert list(about["shards"].values()) == [10, 10, 4]


def test_without_classes_there_are_no_labels(tmp_path):
    image_files.write(tmp_path / "photos", classes=())
    pack(tmp_path / "photos", tmp_path / "packed", size=8)
    data = array_record(tmp_path / "packed", held_out=4)
    assert (data.classes, data.train[:].label) == (0, None)
    seen = np.concatenate([as_bytes(data.train[:].image), as_bytes(data.held_out[:].image)])
    order = np.concatenate([data.train.index, data.held_out.index])
    np.testing.assert_array_equal(seen, PIXELS[order])


def test_the_same_folder_packs_to_the_same_bytes(photos, tmp_path):
    one, other = (pack(photos, tmp_path / name, size=8).out for name in "ab")
    assert [file.read_bytes() for file in sorted(one.iterdir())] == [f.read_bytes() for f in sorted(other.iterdir())]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_what_is_interrupted_leaves_nothing(photos, tmp_path, monkeypatch, error):
    class Breaking(packing.Writer):
        def write(self, pixels, label):
            super().write(pixels, label)
            assert list(tmp_path.glob("packed.*.tmp/*"))
            if sum(self.counts.values()) == 12:
                raise error

    monkeypatch.setattr(packing, "Writer", Breaking)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        pack(photos, tmp_path / "packed", size=8, shard_size=5)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_folder_that_exists_is_left_alone(photos, tmp_path):
    (tmp_path / "packed").mkdir()
    assert "exists already" in message(lambda: pack(photos, tmp_path / "packed"), FileExistsError)
    assert list((tmp_path / "packed").iterdir()) == []


def test_damage_is_told(photos, tmp_path):
    out = pack(photos, tmp_path / "packed", size=8, shard_size=10).out
    shard, about = out / "images-00001.array_record", out / "dataset.json"
    whole, told = shard.read_bytes(), about.read_text()
    shard.write_bytes(whole[: len(whole) // 2])
    assert message(lambda: array_record(out)).startswith(f"{shard} is truncated or damaged (0 of 10 images)")
    shard.write_bytes((out / "images-00002.array_record").read_bytes())
    assert "(4 of 10 images)" in message(lambda: array_record(out))
    shard.unlink()
    assert f"{shard} is missing" in message(lambda: array_record(out))
    spoilt = bytearray(whole)
    spoilt[whole.index(PIXELS[8].tobytes()) + 5] ^= 1  # the 11th, in the order of the classes
    shard.write_bytes(spoilt)
    assert f"{shard} is damaged" in message(lambda: array_record(out).train[:])
    shard.write_bytes(whole)
    about.write_text(told.replace('"version": 1', '"version": 2'))
    assert "dataset.json is damaged" in message(lambda: array_record(out))  # its seal does not fit
    about.write_text(sealed_json(opened_json(told) | {"version": 2}))
    assert "has version 2" in message(lambda: array_record(out))
    for text in ("", "{}", "[]", told[: len(told) // 2], told.replace("10", "-1"), told.replace("8,", "'8',")):
        about.write_text(text)
        assert f"{about} is damaged" in message(lambda: array_record(out))
    about.write_text(told.replace("3\n  ]", "1\n  ]"))  # another shape than the records'
    assert "is damaged" in message(lambda: array_record(out).train[:])


def test_folders_that_are_no_data_set(photos, tmp_path):
    assert "no such folder" in message(lambda: array_record(tmp_path / "nowhere"), FileNotFoundError)
    assert "has no dataset.json" in message(lambda: array_record(photos))
