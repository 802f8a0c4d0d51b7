""".npy files larger than memory."""

import numpy as np
import pytest
from refused import message

from fewstep.train.data import Batches, npy

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)


def saved(path, array):
    np.save(path, array)
    return path


def test_images_stay_on_the_disk_until_their_batch(tmp_path):
    data = npy(saved(tmp_path / "a.npy", IMAGES), labels=str(saved(tmp_path / "y.npy", np.arange(30))), held_out=6)
    source = data.train.source
    assert (data.name, data.shape, data.classes, source.in_memory) == ("a", (6, 5, 1), 30, False)
    assert isinstance(source.images, np.memmap)
    assert source.images.dtype == np.uint8
    for split in (data.train, data.held_out):
        image, label, *_ = split[:]
        np.testing.assert_allclose(image[..., 0], IMAGES[label] / 127.5 - 1, atol=1e-6)
    assert Batches(npy(tmp_path / "a.npy").train, 4).batch(0).label is None


def test_a_file_much_larger_than_what_is_read(tmp_path):
    """A sparse file of 64 GiB: reading it whole would not end."""
    path, shape = tmp_path / "big.npy", (2**18, 512, 512, 1)
    np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    batch = Batches(npy(path, held_out=100).train, 32).batch(0)
    assert batch.image.shape == (32, 512, 512, 1)
    assert (batch.image == -1).all()


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (IMAGES / 255, ["dtype float64", "@npz"]),
        (IMAGES[0], ["shape (6, 5)", "(N, H, W)"]),
        (IMAGES[:0], ["empty"]),
        (np.array([{}]), ["dtype object"]),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, parts):
    text = message(lambda: npy(saved(tmp_path / "a.npy", array)))
    assert text.startswith(f"{tmp_path / 'a.npy'} ")
    assert all(part in text for part in parts), text


def test_files_that_are_refused(tmp_path):
    path = saved(tmp_path / "a.npy", IMAGES)
    assert "no such file" in message(lambda: npy(tmp_path / "b.npy"), FileNotFoundError)
    assert "is a folder" in message(lambda: npy(tmp_path))
    short = saved(tmp_path / "y.npy", np.arange(29))
    assert f"{short} has 29 entries for 30 images" in message(lambda: npy(path, str(short)))
    np.savez(tmp_path / "z.npy.npz", images=IMAGES)
    assert "use @npz" in message(lambda: npy(tmp_path / "z.npy.npz"))
    whole = path.read_bytes()
    for content, part in ((whole[:500], "truncated or damaged"), (whole[:40], "damaged"), (b"", "not a .npy file")):
        path.write_bytes(content)
        assert part in message(lambda: npy(path))
