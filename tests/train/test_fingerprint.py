"""A data set that is no longer what it was is known by little."""

import numpy as np
import pytest

from fewstep.train.data import Arrays, Dataset, Split
from fewstep.train.data.fingerprint import change, fingerprint

IMAGES = np.random.default_rng(0).uniform(-1, 1, (60, 6, 6, 1)).astype(np.float32)


def dataset(images=IMAGES, held_out=20, classes=3, labels=None):
    source = Arrays(images, np.arange(len(images), dtype=np.int32) % 3 if labels is None else labels)
    order = np.arange(len(images))
    return Dataset("squares", Split(source, order[held_out:]), Split(source, order[:held_out]), classes)


KNOWN = {"shape": [6, 6, 1], "classes": 3, "data": fingerprint(dataset())}


def test_the_same_is_the_same_and_so_is_what_another_decoder_makes_of_it():
    assert change(KNOWN, dataset()) is None
    noise = np.random.default_rng(1).integers(-2, 3, IMAGES.shape) / np.float32(127.5)
    assert change(KNOWN, dataset(IMAGES + noise)) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dataset(IMAGES[1:]), "39 training images, not 40"),
        (dataset(held_out=19), "41 training images, not 40"),
        (dataset(IMAGES[::-1]), "other training images"),
        (dataset(np.roll(IMAGES, 1, axis=0)), "other training images"),
        (dataset(np.concatenate([np.roll(IMAGES[:20], 3, axis=0), IMAGES[20:]])), "other held-out images"),
        (dataset(labels=np.zeros(60, np.int32)), "other training images"),
        (dataset(IMAGES[:, :, :4]), "images of (6, 4, 1), not (6, 6, 1)"),
        (dataset(classes=4), "4 classes, not 3"),
    ],
)
def test_what_has_changed_is_said(data, said):
    assert said in change(KNOWN, data)


def test_a_run_of_before_remembers_nothing():
    assert change({"shape": (6, 6, 1), "classes": 3}, dataset(IMAGES[1:])) is None
