"""What holds of every source: the kind of numbers, the split, random access, and batches in any order and part."""

import contextlib
import threading

import grain
import image_files
import numpy as np
import pytest
from refused import message

from fewstep.train.data import SOURCES, Batch, Batches
from fewstep.train.data.packing import pack


def saved_npz(path):
    np.savez(path / "a.npz", images=image_files.PIXELS, labels=np.arange(24) % 3)
    return {"path": path / "a.npz"}


def saved_npy(path):
    np.save(path / "a.npy", image_files.PIXELS)
    np.save(path / "labels.npy", np.arange(24) % 3)
    return {"path": path / "a.npy", "labels": str(path / "labels.npy")}


def saved_folder(path, classes=("cat", "dog")):
    image_files.write(path / "photos", classes=classes)
    return {"path": path / "photos", "size": 8}


def saved_records(path):
    saved_folder(path)
    pack(path / "photos", path / "packed", size=8, shard_size=10)
    return {"path": path / "packed"}


def saved_hub(path):
    import datasets

    table = {"image": list(image_files.PIXELS), "label": [i % 3 for i in range(24)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(3)})
    datasets.Dataset.from_dict(table, features=features).save_to_disk(path / "hub")
    return {"path": path / "hub", "size": 8}


CASES = {  # a source, and what makes its data in a folder and gives its parameters
    "digits": (SOURCES["digits"], lambda path: {}),
    "moons": (SOURCES["points"], lambda path: {}),
    "mixture": (SOURCES["points"], lambda path: {"kind": "mixture"}),
    "checkerboard": (SOURCES["points"], lambda path: {"kind": "checkerboard"}),
    "npz": (SOURCES["npz"], saved_npz),
    "npy": (SOURCES["npy"], saved_npy),
    "folder": (SOURCES["folder"], saved_folder),
    "unlabelled folder": (SOURCES["folder"], lambda path: saved_folder(path, ())),
    "array_record": (SOURCES["array_record"], saved_records),
    "huggingface": (SOURCES["huggingface"], saved_hub),
}


def test_every_source_is_here():
    assert {source for source, _ in CASES.values()} == set(SOURCES.values())


@pytest.fixture(scope="module", params=CASES)
def dataset(request, tmp_path_factory):
    """() -> the data set of one source, anew."""
    source, save = CASES[request.param]
    options = save(tmp_path_factory.mktemp("data"))
    return lambda **more: source(**options, **more)


def part(batch, at):
    return Batch(batch.image[at], None if batch.label is None else batch.label[at])


def same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.label, other.label)


def test_float32_in_the_box_split_the_same_way_again(dataset):
    first, again = dataset(), dataset()
    for split, twin in [(first.train, again.train), (first.held_out, again.held_out)]:
        image, label, *_ = split[:]
        assert image.dtype == np.float32
        assert image.shape == (len(split), *split.shape)
        assert split.shape == first.shape
        assert np.abs(image).max() <= 1
        same(split[:], twin[:])
        if first.classes:
            assert label.dtype == np.int32
            assert label.shape == (len(split),)
            assert set(label) <= set(range(first.classes))
        else:
            assert label is None


def test_the_parts_are_disjoint_and_everything(dataset):
    data = dataset(held_out=5)
    assert len(data.held_out) == 5
    numbers = np.concatenate([data.train.index, data.held_out.index])
    assert sorted(numbers) == list(range(len(data.train.source)))
    assert not np.array_equal(data.held_out.index, dataset(held_out=5, seed=1).held_out.index)


def test_a_split_is_indexed_as_an_array_is(dataset):
    split = dataset().train
    everything = split[:]
    for at in ([3, 1, 3], slice(2, 9), -1, np.int32(4), np.array([2]), np.arange(len(split)) % 7 == 0, []):
        same(split[at], part(everything, at))
    assert split[2].image.shape == split.shape
    with pytest.raises(IndexError):
        split[len(split)]
    batch = split[:2]
    batch.image[:] = 7
    same(split[:2], part(everything, slice(2)))


def test_grain_reads_it_as_it_is(dataset):
    split = dataset().train
    same(grain.MapDataset.source(split)[3], split[3])
    loaded = grain.MapDataset.source(split).seed(7).shuffle().batch(4)[1]
    assert loaded.image.shape == (4, *split.shape)


@pytest.mark.parametrize("flip", [False, True])
def test_batches_come_in_any_order_part_and_stream(dataset, flip):
    split = dataset().train
    if len(split.shape) != 3 and flip:
        assert "train.flip requires images" in message(lambda: Batches(split, 6, flip=True))
        return
    batches = Batches(split, 6, seed=3, flip=flip)
    whole = [batches.batch(k) for k in range(8)]
    for rows in (slice(2, 4), np.array([5, 0, 1]), slice(0, 0)):
        same(batches.batch(5, rows), part(whole[5], rows))
        with contextlib.closing(batches.stream(2, 8, rows)) as stream:
            streamed = list(stream)
        assert len(streamed) == 6
        for got, batch in zip(streamed, whole[2:], strict=True):
            same(got, part(batch, rows))
    assert list(batches.stream(4, 4)) == []


def test_a_stream_left_early_leaves_no_thread(dataset):
    batches, before = Batches(dataset().train, 4), set(threading.enumerate())
    with contextlib.closing(batches.stream(0, 1000)) as stream:
        same(next(stream), batches.batch(0))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before
