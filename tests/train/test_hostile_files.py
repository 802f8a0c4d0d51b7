"""Files that are not what they should be: each is named in one line, at once, and nothing is allocated for it."""

import io
import os
import signal
import socket
import struct
import zipfile

import numpy as np
import pytest
from image_files import enlarged
from PIL import Image
from refused import message

from fewstep.errors import UsageError
from fewstep.evaluation.features.encoders import read_arrays
from fewstep.train.checkpoints import digests
from fewstep.train.data import folder, npy, npz
from fewstep.train.data.decode import BadImage, decode
from fewstep.train.data.pairs import read_record
from fewstep.train.data.records import array_record
from fewstep.train.logs.jsonl import read as read_metrics
from fewstep.train.utils import files, sealed
from fewstep.train.utils import npz as arrays
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.memory import amount, free_memory


@pytest.fixture(autouse=True)
def at_once():
    """Nothing here waits for what never comes."""

    def late(*_):
        raise TimeoutError("reading did not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["named pipe", "socket", "device", "folder"])
def other(request, tmp_path_factory, monkeypatch):
    """other(path) puts something there that is not a file; returns what it is."""

    def put(path):
        if request.param == "named pipe":
            os.mkfifo(path)
        elif request.param == "socket":
            monkeypatch.chdir(path.parent)  # a socket's path is short
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(path.name)
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        return request.param

    return put


READERS = {
    "run.json": sealed.read_json,
    "config.gin": files.read_text,
    "metrics.jsonl": read_metrics,
    "a.npz": arrays.read,
    "b.npz": lambda path: npz(str(path)),
    "c.npz": read_arrays,
    "weights.pth": read_arrays,
    "d.npy": lambda path: npy(str(path)),
    "pairs.json": lambda path: read_record(path.parent),
    "dataset.json": lambda path: array_record(str(path.parent)),
    "e.png": lambda path: decode(path, 8, 3),
}


@pytest.mark.parametrize("name", READERS)
def test_only_files_are_read(tmp_path, other, name):
    other(tmp_path / name)
    message(lambda: READERS[name](tmp_path / name), UsageError)


def test_what_stands_in_the_place_of_a_file_is_said(tmp_path, other):
    kind = other(tmp_path / "a")
    assert message(lambda: files.read_bytes(tmp_path / "a", 9), Damaged) == f"{tmp_path / 'a'} is a {kind}, not a file"


def test_a_lock_of_another_kind_does_not_block_and_loses_nothing(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with files.folder_lock(tmp_path):
        assert (tmp_path / "precious").read_text() == "mine"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    assert files.is_locked(tmp_path) is False
    with pytest.raises(OSError, match="No such device"), files.folder_lock(tmp_path):
        pass


def test_files_of_a_kind_have_a_size(tmp_path):
    (tmp_path / "config.gin").write_bytes(b"#" * (files.TEXT + 1))
    assert "larger than 1 MiB" in message(lambda: files.read_text(tmp_path / "config.gin"), Damaged)
    os.truncate(tmp_path / "config.gin", 1 << 40)  # a file with holes
    assert "larger than 16 MiB" in message(lambda: sealed.read_json(tmp_path / "config.gin"), Damaged)


def test_a_checkpoint_with_a_pipe_is_damaged(tmp_path):
    (tmp_path / "ema").mkdir()
    (tmp_path / "ema" / "0").write_bytes(b"weights")
    digests.write(tmp_path)
    assert digests.damage(tmp_path) is None
    (tmp_path / "ema" / "0").unlink()
    os.mkfifo(tmp_path / "ema" / "0")
    assert digests.damage(tmp_path) == "ema/0 is a named pipe, not a file"
    (tmp_path / "ema" / "0").unlink()
    (tmp_path / "ema" / "0").write_bytes(b"weights")
    os.mkfifo(tmp_path / "_CHECKPOINT_METADATA")  # Orbax would wait for it
    assert digests.damage(tmp_path) == "_CHECKPOINT_METADATA is a named pipe, not a file"


@pytest.mark.parametrize(
    "text",
    [
        '{"classes": Infinity}', '{"classes": 1e999}', '{"classes": NaN}', "[" * 100_000, '{"a": ' * 100_000,
        '{"classes": ' + "9" * 5000 + "}", "{", "", '{"a": 1x}',
    ],
)  # fmt: skip
def test_json_that_is_damaged(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    said = message(lambda: sealed.read_json(tmp_path / "run.json"), Damaged)
    assert said.startswith(f"{tmp_path / 'run.json'} is damaged (")
    assert len(said) < len(str(tmp_path)) + 90
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    assert "metrics.jsonl, line 1 is damaged" in message(lambda: read_metrics(tmp_path / "metrics.jsonl"))


def test_random_bytes_are_no_json(tmp_path):
    for seed in range(20):
        (tmp_path / "run.json").write_bytes(np.random.default_rng(seed).bytes(200))
        assert "run.json is damaged" in message(lambda: sealed.read_json(tmp_path / "run.json"), Damaged)


def zipped(path, header, data=b"\0" * 64, name="images.npy", method=zipfile.ZIP_STORED):
    """An .npz file with one array of this header."""
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    return path


HEADERS = {
    "eleven terabytes": "{'descr': '|u1', 'fortran_order': False, 'shape': (12094627905536, 1, 1)}",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-8, 8)}",
    "twice negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-8, -8)}",
    "fewer": "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8, 0)}",
    "cut": "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 8)}",
    "unclosed": "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8",
    "quote": "{'descr': '|u1', 'fortran_order': False, 'shape': '''(1, 8, 8)}",
    "brackets": "(" * 9000,
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (8,)}",
    "code": "__import__('os').abort()",
    "kind": "{'descr': 'spam', 'fortran_order': False, 'shape': (8, 8)}",
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_lie(tmp_path, header):
    path = zipped(tmp_path / "a.npz", HEADERS[header])
    for read in (arrays.read, lambda path: npz(str(path)), read_arrays):
        assert str(path) in message(lambda read=read: read(path))
    with zipfile.ZipFile(path) as file:
        (tmp_path / "a.npy").write_bytes(file.read("images.npy"))
    assert "a.npy" in message(lambda: npy(str(tmp_path / "a.npy")))


def test_every_byte_of_an_npz_that_changes_is_noticed_or_harmless(tmp_path):
    kept = {"images": np.arange(64, dtype=np.uint8).reshape(1, 8, 8), "labels": np.arange(3)}
    data, path, rng = arrays.encode(**kept), tmp_path / "a.npz", np.random.default_rng(0)
    for _ in range(400):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            found = arrays.read(path)
        except Damaged:
            continue
        for name in found.keys() & kept.keys():
            np.testing.assert_array_equal(found[name], kept[name])


def test_zip_bombs_and_what_does_not_fit(tmp_path, monkeypatch):
    member = b"\0" * (1 << 20)
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1048576,)}"
    path = zipped(tmp_path / "a.npz", header, member, method=zipfile.ZIP_DEFLATED)
    assert len(arrays.read(path)["images"]) == 1 << 20
    monkeypatch.setattr(arrays, "BOMB", (100, 1 << 19))
    assert "grows to 1.05 MB" in message(lambda: arrays.read(path), arrays.TooLarge)
    monkeypatch.undo()
    monkeypatch.setattr(arrays, "free_memory", lambda: 1 << 19)
    assert "needs 1.05 MB of memory, and 524 kB are free" in message(lambda: arrays.read(path))
    assert "which reads a .npy file from disk" in message(lambda: npz(str(path)))
    data = bytearray(zipped(tmp_path / "b.npz", header, member).read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1 << 31)  # the size that the directory declares
    (tmp_path / "b.npz").write_bytes(data)
    assert "larger than its part" in message(lambda: arrays.read(tmp_path / "b.npz"))


def test_other_compressions_are_refused(tmp_path):
    path = zipped(tmp_path / "a.npz", HEADERS["cut"], method=zipfile.ZIP_BZIP2)
    assert "is damaged" in message(lambda: arrays.read(path))


def test_free_memory_is_known():
    assert 0 < free_memory() < 1 << 50
    assert [amount(size) for size in (0, 999, 1000, 4.2e9, 11e12)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "4.2 GB",
        "11 TB",
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_an_image_whose_header_lies(tmp_path, kind):
    (tmp_path / "a").mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / "a" / f"{i}.png")
    (tmp_path / "a" / "big.png").write_bytes(enlarged(kind, 13_000))
    assert len(folder(str(tmp_path), size=8, held_out=1).train) == 2
    told = message(lambda: folder(str(tmp_path), size=8, strict=True))
    assert "big.png (169,000,000 pixels, more than max_pixels = 67108864)" in told


def test_a_small_file_is_no_large_photograph():
    with pytest.raises(BadImage, match="truncated"):
        decode(io.BytesIO(enlarged("JPEG", 5000)), 8, 3)


def test_the_bound_of_pixels_is_a_setting(tmp_path):
    for i in range(3):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{i}.png")
    assert len(folder(str(tmp_path), size=8, max_pixels=400, held_out=1).train) == 2
    assert "400 pixels, more than max_pixels = 399" in message(lambda: folder(str(tmp_path), size=8, max_pixels=399))
    assert "max_pixels" in message(lambda: folder(str(tmp_path), size=8, max_pixels=0))


def test_an_image_that_does_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.train.data.decode.free_memory", lambda: 1 << 20)
    file = io.BytesIO()
    Image.new("L", (5000, 4000)).save(file, "PNG")
    with pytest.raises(BadImage, match=r"needs 320 MB of memory, and 1\.05 MB are free"):
        decode(file, 8, 3)


def test_a_large_photograph_is_decoded_at_a_lower_resolution(monkeypatch):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    whole = decode(io.BytesIO(file.getvalue()), 16, 3).astype(int)
    monkeypatch.setattr("fewstep.train.data.decode.LARGE", 1 << 20)
    monkeypatch.setattr("fewstep.train.data.decode._check_memory", lambda image: sizes.append(image.size))
    sizes: list = []
    assert abs(decode(io.BytesIO(file.getvalue()), 16, 3) - whole).max() <= 4
    assert sizes == [(200, 150)]
