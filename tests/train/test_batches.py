"""Batch k is a function of (seed, k) alone."""

import numpy as np
from refused import message

from fewstep.train.data import Arrays, Batches, Split


def numbered(n):
    """Split whose image i and label i both say i."""
    return Split(Arrays(np.arange(n, dtype=np.float32)[:, None] / n, np.arange(n, dtype=np.int32)))


def test_an_epoch_shows_every_image_once_less_the_remainder():
    batches = Batches(numbered(103), 10)
    assert batches.per_epoch == 10
    epochs = [np.concatenate([batches.batch(10 * e + j).label for j in range(10)]) for e in range(3)]
    assert all(len(set(epoch)) == 100 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert set().union(*epochs) == set(range(103))  # each epoch drops others
    exact = Batches(numbered(30), 10)
    assert sorted(np.concatenate([exact.batch(k).label for k in range(3)])) == list(range(30))


def test_batch_k_depends_on_seed_and_k_alone():
    batches = Batches(numbered(50), 8, seed=3)
    forward = [batches.batch(k) for k in range(40)]
    fresh = Batches(numbered(50), 8, seed=3)
    for k in np.random.default_rng(0).permutation(40):
        np.testing.assert_array_equal(fresh.batch(k).image, forward[k].image)
        np.testing.assert_array_equal(fresh.batch(k).label, forward[k].label)
    assert not np.array_equal(Batches(numbered(50), 8, seed=4).batch(0).label, forward[0].label)


def test_a_batch_keeps_labels_beside_images_and_is_a_copy():
    split = numbered(20)
    batch = Batches(split, 20).batch(0)
    assert batch.image.shape == (20, 1)
    assert batch.image.dtype == np.float32
    assert batch.label.dtype == np.int32
    np.testing.assert_allclose(batch.image[:, 0] * 20, batch.label, atol=1e-5)
    batch.image[:] = 7
    assert split[:].image.max() < 1
    assert Batches(Split(Arrays(split[:].image)), 4).batch(2).label is None


def test_batches_that_cannot_be():
    assert "train.batch_size = 21 exceeds the 20 training images" in message(lambda: Batches(numbered(20), 21))
    assert "train.batch_size = 0" in message(lambda: Batches(numbered(20), 0))


class Watched(Arrays):
    """Notes what is read."""

    asked = ()

    def read(self, indices):
        self.__class__.asked += tuple(indices)
        return super().read(indices)


def test_the_rows_of_one_process_are_all_that_is_read():
    watched = Watched(np.zeros((20, 3), np.float32))
    parts = [Batches(Split(watched), 8).batch(1, rows).image for rows in (slice(0, 4), slice(4, 8))]
    assert [len(part) for part in parts] == [4, 4]
    assert len(Watched.asked) == len(set(Watched.asked)) == 8


def test_flips_mirror_about_half_of_the_images_left_to_right():
    images = np.random.default_rng(0).uniform(-1, 1, (64, 3, 5, 2)).astype(np.float32)
    split = Split(Arrays(images, np.arange(64, dtype=np.int32)))
    plain, flipped = Batches(split, 32, seed=2), Batches(split, 32, seed=2, flip=True)
    mirrored = []
    for k in range(40):
        image, label, *_ = flipped.batch(k)
        np.testing.assert_array_equal(label, plain.batch(k).label)
        straight = (image == images[label]).all((1, 2, 3))
        assert (straight | (image == images[label][:, :, ::-1]).all((1, 2, 3))).all()
        mirrored.append(~straight)
    assert 0.45 < np.mean(mirrored) < 0.55  # of 1280: 0.5 +- 0.014
    assert len({bytes(row) for row in mirrored}) == 40
    assert "train.flip requires images, and the data has shape (1,)" in message(
        lambda: Batches(numbered(20), 4, flip=True)
    )
