"""Which real images samples are measured against, and features that are kept."""

import numpy as np
import pytest

from fewstep.evaluation import reference as module
from fewstep.evaluation.features import Pixels, quantized
from fewstep.evaluation.reference import cached_features, reference
from fewstep.train.data import Arrays, Dataset, Split


@pytest.fixture
def line():
    images = np.linspace(-1, 1, 101, dtype=np.float32)[:, None]
    return Dataset("line", Split(Arrays(images)), Split(Arrays(images)), 0)


def test_all_held_out_or_as_many_as_fit_spread_evenly(line, monkeypatch):
    images = line.held_out[:].image
    np.testing.assert_array_equal(reference(line, 5).held_out, images)
    monkeypatch.setattr(module, "MOST", 11)
    np.testing.assert_array_equal(reference(line, 5).held_out, images[::10])
    monkeypatch.setattr(module, "NUMBERS", 6)
    np.testing.assert_array_equal(reference(line, 5).held_out, images[::20])
    monkeypatch.setattr(module, "NUMBERS", 0)
    np.testing.assert_array_equal(reference(line, 5).held_out, images[[0, 100]])


def test_the_first_training_images(line):
    np.testing.assert_array_equal(reference(line, 5).training, line.train[:5].image)
    assert len(reference(line, 1000).training) == len(reference(line, None).training) == 101


def test_images_are_stored_as_a_file_would_hold_them():
    images = np.array([-1.0, 0.0, 1.0, 3.0, -3.0, 0.001]).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(quantized(images).ravel(), [0, 128, 255, 255, 0, 128])
    np.testing.assert_allclose(Pixels((2, 3, 1))(quantized(images))[0], np.array([0, 128, 255, 255, 0, 128]) / 255)
    points = np.random.default_rng(0).standard_normal((4, 2))
    np.testing.assert_array_equal(Pixels((2,))(quantized(points)), points.astype(np.float32))


def test_8_bit_data_come_back_as_they_were():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(quantized(Split(Arrays(values))[:].image), values)


class Sums:
    """Features that count how often they are computed."""

    name, digest, classes = "sums", "sums 1", 0

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images.reshape(len(images), -1).sum(1, keepdims=True).astype(np.float64)


def test_features_are_kept_by_what_they_depend_on(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    sums = Sums()
    first = cached_features(sums, images, tmp_path)
    np.testing.assert_array_equal(cached_features(sums, images, tmp_path), first)
    assert sums.calls == 1
    other = images.copy()
    other[0, 0, 0, 0] += 1
    assert cached_features(sums, other, tmp_path)[0] != first[0]
    sums.digest = "sums 2"
    cached_features(sums, images, tmp_path)
    assert sums.calls == 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-3], lambda data: b"", lambda data: data.replace(b"NUMPY", b"NUMPZ")]
)
def test_damaged_features_are_computed_anew(tmp_path, damage):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    sums = Sums()
    first = cached_features(sums, images, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(cached_features(sums, images, tmp_path), first)
    assert sums.calls == 2


def test_pixels_are_not_kept(tmp_path):
    cached_features(Pixels((4, 4, 1)), np.zeros((2, 4, 4, 1), np.uint8), tmp_path)
    assert not list(tmp_path.iterdir())
