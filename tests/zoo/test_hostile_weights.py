"""Weight files that are made to do harm, or are damaged: refused in one line, soon, in little memory, nothing run."""

import contextlib
import json
import os
import random
import subprocess
import sys

import foreign_files as ff
import hostile_pickles
import hostile_weights
import numpy as np
import pytest
from refused import message

from fewstep.train.utils.errors import Damaged
from fewstep.zoo.files import read, weight_sets
from fewstep.zoo.files.names import KNOWN

CHILD = """
import json, re, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))  # without the files themselves
from fewstep.train.utils.errors import Damaged
from fewstep.zoo.files import read
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.monotonic()
    try:
        read(path)
        said = None
    except Damaged as error:
        said = str(error)
    # of this process alone: ru_maxrss begins with what the parent holds
    most = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    print(json.dumps([path.name, said, time.monotonic() - start, most]), flush=True)
"""
WHOLE = hostile_weights.whole()


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """{file: [what was said, seconds, KiB at most]} of another process that opens them all, and the canary."""
    folder, canary = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("canary") / "canary"
    for name, data in hostile_weights.files(str(canary)).items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.pt")
    (folder / "folder.pt").mkdir()
    (folder / "loop.pt").symlink_to(folder / "loop.pt")
    with (folder / "sparse.pkl").open("wb") as file:  # it claims a text of 100 GB, and has them
        file.write(b"\x80\x04\x8d" + (100 << 30).to_bytes(8, "little"))
        file.truncate(101 << 30)
    _holes(folder / "five_texts.pkl", 5)
    _holes(folder / "copied_text.pkl", 1, b"\x94", b"c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86R" * 50, b"a")
    child = [sys.executable, "-c", CHILD, str(folder)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}, canary


def _holes(path, count, after=b"", end=b"", first="\U0001f600".encode()):
    """A pickle of texts of 64 MiB, which take no room on disk, and are 4 bytes a character with such a first one."""
    size = 64 << 20
    with path.open("wb") as file:
        file.write(b"\x80\x04(")
        for _ in range(count):
            file.write(b"X" + size.to_bytes(4, "little") + first)
            file.seek(size - len(first), 1)
            file.write(after)
        file.write(end + b"t.")
        file.truncate(32 << 30 if end else file.tell())


OTHERS = ("pipe.pt", "folder.pt", "loop.pt", "sparse.pkl", "five_texts.pkl", "copied_text.pkl")
NAMES = (*hostile_weights.files("canary"), *OTHERS)


@pytest.mark.parametrize("name", NAMES)
def test_refused_in_one_line(ends, name):
    said, seconds, most = ends[0][name]
    assert said is not None, "it was opened"
    assert "\n" not in said
    assert len(said) < 500
    assert name in said
    assert said.isascii()
    assert seconds < 20
    assert most < 1 << 20  # KiB


def test_nothing_was_run(ends):
    assert not ends[1].exists()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("os_system.pkl", "asks for 'os.system', which is not opened"),
        ("os_system.pt", "asks for 'os.system', which is not opened"),
        ("eval.pkl", "asks for 'builtins.eval'"),
        ("lfs.pt", "git lfs pull"),
        ("header_4gb.safetensors", "claims a header of 4294967296 bytes"),
        ("pipe.pt", "is a named pipe, not a file"),
        ("folder.pt", "is a folder, not a file"),
        ("text.txt", "is of no known format: safetensors, .pt of torch.save"),
        ("empty.pt", "is empty"),
        ("bomb.pt", "is compressed, as torch.save never does"),
        ("arrays.npz", "is an .npz file of arrays"),
        ("equal_hashes.pkl", "a number beyond 9007199254740992 is a key"),
        ("slots.pkl", "more than 1000000 steps"),
        ("five_texts.pkl", "its texts take more than 268435456 bytes"),
        ("copied_text.pkl", "it makes far more data than it holds"),
        ("outside.pt", "an array of shape (3, 4) in a storage of 12"),
    ],
)
def test_the_line_says_what_it_is(ends, name, part):
    assert part in ends[0][name][0]


@pytest.mark.parametrize("form", WHOLE)
def test_cut_at_20_places(tmp_path, form):
    path, data = tmp_path / f"weights.{form}", WHOLE[form]
    for end in np.linspace(0, len(data) - 1, 20).astype(int):
        path.write_bytes(data[:end])
        assert str(path) in message(lambda: read(path), Damaged)


@pytest.mark.parametrize("form", WHOLE)
def test_damage_in_any_place_is_no_traceback(tmp_path, form):
    """It may be in a number of an array, where only a zip archive has a checksum."""
    rng, path = random.Random(0), tmp_path / f"weights.{form}"
    for _ in range(120):
        data = bytearray(WHOLE[form])
        for _ in range(rng.choice((1, 1, 3))):
            data[rng.randrange(len(data))] = rng.choice((0, 255, 127, rng.randrange(256)))
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        path.write_bytes(data)
        with contextlib.suppress(Damaged):
            read(path)


@pytest.mark.parametrize("form", [ff.pickled, ff.zip_file, ff.legacy_file])
def test_known_names_called_with_anything(tmp_path, form):
    rng, path, opened = random.Random(0), tmp_path / "weights.pkl", 0
    for _ in range(120):
        path.write_bytes(form(hostile_pickles.random_value(rng, list(KNOWN))))
        with contextlib.suppress(Damaged):
            weight_sets(read(path))
            opened += 1
    assert 0 < opened < 120


def test_checksums_of_a_zip_archive_are_compared(tmp_path):
    data = ff.zip_file({"w": ff.tensor(np.full(100, 0.5, np.float32))})
    (tmp_path / "a.pt").write_bytes(data.replace(b"\0\0\0?" * 100, b"\0\0\0?" * 99 + b"\0\0\1?"))
    assert "checksum" in message(lambda: read(tmp_path / "a.pt"), Damaged)


def test_a_file_that_is_not_there(tmp_path):
    assert "cannot be read (No such file" in message(lambda: read(tmp_path / "none.pt"), Damaged)
