"""fewstep data pack, and training on what it wrote."""

import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from one_line import refused
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(16):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def spoil(photos):
    (photos / "notes.txt").write_text("not an image")
    whole = (photos / "cat" / "0.png").read_bytes()
    (photos / "cat" / "broken.png").write_bytes(whole[: len(whole) // 2])


@pytest.mark.slow
def test_a_folder_is_packed_and_trained_on(fewstep, photos, tiny, tmp_path):
    spoil(photos)
    out = tmp_path / "my packed"
    status, _, err = fewstep("data", "pack", photos, out, "--size", "8", "--shard-size", "20")
    assert status == 0, err
    skipped, done = err.strip().splitlines()[-2:]
    assert skipped == f"{photos}: skipped 2 of 34 files: cat/broken.png (truncated), notes.txt (not an image)"
    assert done.startswith(f"{out}: 32 images 8x8x3 of 2 classes in 2 shards. Next: fewstep train ")
    assert done.endswith(f"--set train.data=@array_record --set 'array_record.path={out}'")
    words = [*tiny, "train.data=@array_record", f"array_record.path={out}"]
    words = [word for override in words for word in ("--set", override)]
    status, _, err = fewstep("train", "configs/folder/flow.gin", "--run", tmp_path / "run", *words)
    assert status == 0, err
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count('"loss"') == 6


def test_what_is_refused(fewstep, photos, tmp_path):
    out = tmp_path / "packed"
    refused(fewstep("data", "pack", tmp_path / "nowhere", out), "nowhere: no such folder")
    refused(fewstep("data", "pack", photos, tmp_path), "exists already")
    refused(fewstep("data", "pack", photos, out, "--size", "0"), "folder.size is a whole number")
    refused(fewstep("data", "pack", photos, out, "--channels", "4"), "folder.channels is a whole number that is 1 or 3")
    refused(fewstep("data", "pack", photos, out, "--shard-size", "0"), "shard size 0")
    refused(fewstep("data", "pack", photos, "gs://bucket/packed"), "local folder")
    refused(fewstep("data", "pack", photos, ""), "OUT is empty")
    refused(fewstep("data", "pack", "gs://bucket/photos", out), "gs://bucket/photos", "local disk")
    refused(fewstep("data", "pack", photos, photos / "packed"), f"{photos / 'packed'} is inside {photos}", "outside")
    refused(fewstep("data", "pack", tmp_path / "nowhere", tmp_path / "deep/a/packed"), "nowhere: no such folder")
    (tmp_path / "file").write_text("")
    under = tmp_path / "file" / "out"
    refused(fewstep("data", "pack", photos, under), f"{under} cannot be written (Not a directory)", "another folder")
    spoil(photos)
    result = fewstep("data", "pack", photos, out, "--strict")
    refused(result, "2 cannot be read", "broken.png (truncated)", "notes.txt", "without --strict")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]


def test_a_full_disk_is_said_of_the_folder_that_was_asked_for(photos, tmp_path):
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    words = [sys.executable, "-m", "fewstep.cli.main", "data", "pack", photos, tmp_path / "packed"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=full)
    refused((done.returncode, done.stdout, done.stderr), f"{tmp_path / 'packed'} cannot be written", "free some space")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


SLOWLY = """
import time
from fewstep.train.data import scan
decode = scan.decode
scan.decode = lambda *arguments, **options: (time.sleep(1), decode(*arguments, **options))[1]
from fewstep.cli.main import main
main()
"""


def test_sigterm_leaves_nothing(photos, tmp_path):
    words = [sys.executable, "-c", SLOWLY, "data", "pack", photos, tmp_path / "deep" / "packed"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("deep/*.tmp/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_config_of_a_folder_says_what_is_wrong_with_it(fewstep, photos, tmp_path):
    words = ["train", "configs/folder/flow.gin", "--run", tmp_path / "run"]
    refused(fewstep(*words), "folder", "'path'", "set it in the config")
    refused(fewstep(*words, "--set", f"folder.path={tmp_path}/none"), "no such folder")
    refused(fewstep(*words, "--set", f"folder.path={photos}", "--set", "folder.size=big"), "folder.size is a whole")
    spoil(photos)
    refused(fewstep(*words, "--set", f"folder.path={photos}", "--set", "folder.strict=True"), "2 cannot be read")
    assert not (tmp_path / "run").exists()


HELP = """
import sys
from fewstep.cli.main import app
try:
    app(["data", "pack", "--help"])
finally:
    print({"jax", "numpy", "PIL", "grain", "train"} & set(sys.modules), file=sys.stderr)
"""


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--shard-size" in done.stdout
    assert done.stderr == "set()\n"
