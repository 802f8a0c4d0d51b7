import subprocess
import sys

import numpy as np
import pytest
from refused import message

from fewstep.train.data import arrays, digits, npz

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 10


def saved(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def rows(images):
    return sorted(map(bytes, images))


def test_importing_the_data_imports_nothing_slow():
    code = "import sys, fewstep.train.data; sys.exit(bool({'jax', 'grain', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_the_1797_images_of_ten_about_equal_classes():
    data = digits()
    assert (len(data.train), len(data.held_out), data.shape, data.classes) == (1297, 500, (8, 8, 1), 10)
    counts = np.bincount(np.concatenate([data.train[:].label, data.held_out[:].label]), minlength=10)
    assert counts.sum() == 1797
    assert counts.min() >= 170
    assert counts.max() <= 185
    levels = np.unique(data.train[:].image)
    np.testing.assert_array_equal(levels, np.arange(17, dtype=np.float32) / 8 - 1)


def test_digits_look_like_digits():
    train, held_out = digits().train[:], digits().held_out[:]
    means = np.stack([train.image[train.label == c].mean(0).ravel() for c in range(10)])
    distances = ((held_out.image.reshape(-1, 1, 64) - means) ** 2).sum(-1)
    assert (distances.argmin(1) == held_out.label).mean() > 0.85
    zero, one = means[0].reshape(8, 8), means[1].reshape(8, 8)
    assert zero[3:5, 3:5].mean() < -0.5  # a hole in the middle, upright images: a one is a column
    assert one[:, 3:5].mean() > 0.3


def test_splits_are_disjoint_complete_and_move_with_the_seed():
    train, held_out = digits(seed=1).train[:].image, digits(seed=1).held_out[:].image
    everything = rows(np.concatenate([train, held_out]))
    assert everything == rows(np.concatenate([digits().train[:].image, digits().held_out[:].image]))
    assert len(set(everything)) == 1797  # no digit occurs twice, so equal multisets mean disjoint parts
    assert not np.array_equal(held_out, digits().held_out[:].image)


def test_bytes_become_x_over_127_5_minus_1_with_labels_kept_beside_their_images(tmp_path):
    images = np.repeat(np.arange(40, dtype=np.uint8) * 6, 12).reshape(40, 4, 3)
    data = npz(saved(tmp_path, images=images, labels=np.arange(40)), held_out=0.25)
    assert (data.name, data.shape, data.classes) == ("set", (4, 3, 1), 40)
    assert (len(data.train), len(data.held_out)) == (30, 10)
    for split in (data.train, data.held_out):
        assert split[:].image[:, 0, 0, 0] == pytest.approx(split[:].label * 6 / 127.5 - 1, abs=1e-6)
        assert split.source.images.dtype == np.uint8  # a quarter of the memory
    assert sorted([*data.train[:].label, *data.held_out[:].label]) == list(range(40))
    ends = npz(saved(tmp_path, images=np.tile(np.array([[0], [255]], np.uint8), (5, 1))))
    assert set(ends.train[:].image.ravel()) == {-1, 1}


@pytest.mark.parametrize(("shape", "seen"), [((4, 3), (4, 3, 1)), ((4, 3, 2), (4, 3, 2)), ((7,), (7,))])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", ">f4"])
def test_images_of_rank_2_3_and_4(tmp_path, shape, seen, dtype):
    images = np.ones((10, *shape), dtype)
    images[0] = 0 if dtype == "uint8" else -1  # black
    data = npz(saved(tmp_path, images=images))
    assert data.shape == seen
    assert data.classes == 0
    assert data.train[:].label is None
    assert data.train[:].image.dtype == np.dtype("float32")


def test_floats_in_the_box_are_taken_as_they_are_and_rounding_is_clipped(tmp_path):
    images = RNG.uniform(-1, 1, (20, 3))
    images[4] = [1 + 5e-7, -1 - 5e-7, 0]
    data = npz(saved(tmp_path, images=images))
    values = np.concatenate([data.train[:].image, data.held_out[:].image])
    assert np.sort(values, None) == pytest.approx(np.sort(images, None), abs=1e-6)
    assert np.abs(values).max() == 1


@pytest.mark.parametrize(("held_out", "count"), [(0.1, 4), (0.5, 20), (7, 7), (np.int64(3), 3), (39, 39)])
def test_held_out_is_a_fraction_or_a_count(tmp_path, held_out, count):
    data = npz(saved(tmp_path, images=BYTES, labels=LABELS), held_out=held_out)
    assert (len(data.held_out), len(data.train)) == (count, 40 - count)


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels", "held_out_images", "held_out_labels"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_a_file_with_its_own_held_out_part_is_not_split(tmp_path, names):
    arrays = dict(zip(names, (BYTES[:30], LABELS[:30], BYTES[30:], LABELS[30:] + 2), strict=True))
    data = npz(saved(tmp_path, **arrays))
    order = data.train.index  # shuffled: the first images stand for all of them
    assert sorted(order) == list(range(30))
    assert list(order) != sorted(order)
    np.testing.assert_allclose(data.train[:].image[..., 0], BYTES[order] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(data.held_out[:].label, LABELS[30:] + 2)
    assert data.classes == 12  # the largest label of both parts
    unlabelled = npz(saved(tmp_path, **{name: arrays[name] for name in names[::2]}))
    assert unlabelled.classes == 0
    assert len(npz(saved(tmp_path, **{names[0]: BYTES})).held_out) == 4


def test_labels_may_skip_classes_and_classes_may_exceed_them(tmp_path):
    path = saved(tmp_path, images=BYTES, labels=np.array([3, 900] * 20, np.uint16))
    assert npz(path).classes == 901
    assert npz(path, classes=1000).classes == 1000


# Each damaged file in an otherwise good set, and what the message must contain.
BAD_IMAGES = {
    "bool": (BYTES > 9, ["bool", "uint8", "floats"]),
    "int16": (BYTES.astype(np.int16), ["int16", "uint8", "floats"]),
    "complex": (BYTES.astype(complex), ["complex128", "uint8"]),
    "str": (BYTES.astype(str), ["<U3", "uint8"]),
    "object": (BYTES.astype(object), ["object"]),
    "scalar": (np.float32(0), ["shape ()", "(N, H, W)"]),
    "rank 1": (BYTES[:, 0, 0], ["shape (40,)", "(N, d)"]),
    "rank 5": (BYTES[:, None, None], ["shape (40, 1, 1, 6, 5)"]),
    "none": (BYTES[:0], ["empty", "(0, 6, 5)"]),
    "no pixels": (BYTES[:, :0], ["empty", "(40, 0, 5)"]),
    "nan": (with_value(BYTES / 255, [7, 9], np.nan), ["60 NaN or infinite", "image 7"]),
    "inf": (with_value(BYTES / 255, (11, 0, 0), -np.inf), ["1 NaN or infinite", "image 11"]),
    "0..255": (with_value(BYTES / 255, (5, 2, 2), 254.0), ["0 to 254", "image 5", "images / 127.5 - 1"]),
    "below": (with_value(BYTES / 255, (6, 1, 1), -1.5), ["-1.5 to 1", "[-1, 1]", "image 6", "np.clip"]),
    "huge": (with_value(BYTES / 255, (6, 1, 1), 1e300), ["1e+300", "image 6"]),
}
BAD_LABELS = {
    "length": (LABELS[:39], ["39 entries for 40 images"]),
    "rank": (LABELS[:, None], ["shape (40, 1)", "(40,)"]),
    "float": (LABELS / 1, ["float64", "integers"]),
    "bool": (LABELS > 4, ["bool", "integers"]),
    "object": (LABELS.astype(object), ["object"]),
    "negative": (with_value(LABELS, 8, -1), ["out of range", "image 8 has label -1", "first class is 0"]),
    "enormous": (with_value(LABELS, 9, 2**40), ["out of range", "image 9 has label 1099511627776"]),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("name", ["images", "held_out_images"])
def test_images_that_are_refused(tmp_path, case, name):
    images, parts = BAD_IMAGES[case]
    path = saved(tmp_path, **{"images": BYTES, "held_out_images": BYTES, name: images})
    text = message(lambda: npz(path))
    assert text.startswith(f"{path}: {name} ")
    assert all(part in text for part in parts), text


@pytest.mark.parametrize("case", BAD_LABELS)
@pytest.mark.parametrize("name", ["train_labels", "test_labels"])
def test_labels_that_are_refused(tmp_path, case, name):
    labels, parts = BAD_LABELS[case]
    good = {"train_images": BYTES, "train_labels": LABELS, "test_images": BYTES, "test_labels": LABELS}
    path = saved(tmp_path, **{**good, name: labels})
    text = message(lambda: npz(path))
    assert text.startswith(f"{path}: {name} ")
    assert all(part in text for part in parts), text


def test_labels_beyond_the_classes_asked_for(tmp_path):
    path = saved(tmp_path, images=BYTES, labels=with_value(LABELS.astype(np.uint8), 17, 12))
    text = message(lambda: npz(path, classes=10))
    assert f"{path}: labels out of range: image 17 has label 12, classes = 10" in text
    assert "npz.classes is a whole number" in message(lambda: npz(path, classes=0))
    assert "no array labels, but classes = 10" in message(lambda: npz(saved(tmp_path, images=BYTES), classes=10))


def test_parts_that_do_not_match(tmp_path):
    half = saved(tmp_path, images=BYTES, labels=LABELS, held_out_images=BYTES)
    assert "only one of labels and held_out_labels" in message(lambda: npz(half))
    shapes = saved(tmp_path, images=BYTES, held_out_images=BYTES[:, :5])
    assert "(6, 5, 1) in images, (5, 5, 1) in held_out_images" in message(lambda: npz(shapes))


def test_a_file_without_images_says_what_it_has(tmp_path):
    text = message(lambda: npz(saved(tmp_path, pictures=BYTES, labels=LABELS)))
    assert "no array images (it has pictures, labels)" in text
    assert "no arrays" in message(lambda: npz(saved(tmp_path)))


def test_a_missing_file_and_a_folder(tmp_path):
    text = message(lambda: npz(tmp_path / "none.npz"), FileNotFoundError)
    assert "none.npz: no such file" in text
    assert str(tmp_path) in text
    assert "is a folder" in message(lambda: npz(tmp_path))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty (0 bytes)"),
        (b"not an archive at all", "not an .npz archive"),
        (b"PK\x03\x04 cut", "truncated or damaged"),
    ],
)
def test_files_that_are_no_archives(tmp_path, content, part):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    text = message(lambda: npz(path))
    assert text.startswith(f"{path} ")
    assert part in text
    assert "np.savez" in text


def test_a_truncated_or_damaged_archive_and_a_bare_array(tmp_path):
    path = saved(tmp_path, images=BYTES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated or damaged" in message(lambda: npz(path))
    path.write_bytes(whole.replace(BYTES.tobytes()[:8], b"damaged!"))
    assert f"{path}: images is truncated or damaged" in message(lambda: npz(path))
    np.save(tmp_path / "bare.npy", BYTES)
    assert "one bare array" in message(lambda: npz(tmp_path / "bare.npy"))


def test_labels_that_make_more_classes_than_images(tmp_path):
    labels = np.arange(len(BYTES))
    assert npz(saved(tmp_path, images=BYTES, labels=labels)).classes == len(BYTES)
    labels[3] = 2**30
    text = message(lambda: npz(saved(tmp_path, images=BYTES, labels=labels)))
    assert "the labels go up to 1073741824" in text
    assert "np.unique(labels, return_inverse=True)[1]" in text


@pytest.mark.parametrize(
    ("held_out", "part"),
    [
        (0, "npz.held_out is"),
        (-3, "npz.held_out is"),
        (0.001, "no held-out images"),
        (40, "no training images"),
        (99, "no training images"),
        (0.999, "no training images"),
        (1.0, "or a number in (0, 1)"),
        (0.0, "or a number in (0, 1)"),
        (2.5, "or a number in (0, 1)"),
        (float("nan"), "or a number in (0, 1)"),
        ("0.1", "or a number in (0, 1)"),
    ],
)
def test_a_held_out_part_that_cannot_be(tmp_path, held_out, part):
    text = message(lambda: npz(saved(tmp_path, images=BYTES), held_out=held_out))
    assert part in text
    assert f"held_out = {held_out!r}" in text if part.startswith("no ") else f"got {held_out!r}" in text


def test_floats_whose_black_is_zero_are_scaled_or_refused(tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (20, 4, 4, 1))
    path = saved(tmp_path, images=images)
    text = message(lambda: npz(path))
    assert "as if black were 0; it is -1 here: save 2 * images - 1, or say unit=True" in text
    assert "unit=True" in message(lambda: arrays(images))
    for data in (npz(path, unit=True), arrays(images, unit=True)):
        found = np.concatenate([data.train[:].image, data.held_out[:].image])
        np.testing.assert_allclose(np.sort(found, axis=None), np.sort(2 * images - 1, axis=None), atol=1e-6)
    kept = npz(path, unit=False)
    assert kept.train[:].image.min() >= 0
    assert "spans 0 to 3, outside [0, 1], first in image" in message(lambda: arrays(3 * images.round(), unit=True))
    assert arrays(images.reshape(20, 16)).shape == (16,)  # vectors may be anywhere


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_are_refused(channels):
    text = message(lambda: arrays(np.zeros((9, channels, 28, 28), np.uint8)))
    assert f"has shape (9, {channels}, 28, 28), which seems to be (N, C, H, W)" in text
    assert "np.moveaxis(images, 1, -1)" in text
    assert arrays(np.moveaxis(np.zeros((9, channels, 28, 28), np.uint8), 1, -1)).shape == (28, 28, channels)
