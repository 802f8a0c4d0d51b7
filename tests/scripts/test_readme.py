"""What the README shows works as shown; `make demo` and `make test`, and these commands as slow tests, are run by
continuous integration."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewstep.samplers import SAMPLERS

README_FILE = Path(__file__).parents[2] / "README.md"
README = README_FILE.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [shlex.split(line) for line in re.findall(r"^    \.venv/bin/fewstep (.*)$", README, re.MULTILINE)]


def test_the_oracle_example(capsys):
    exec(BLOCKS[0], {})
    mean, std = map(float, capsys.readouterr().out.split())
    assert mean == pytest.approx(0.2, abs=0.02)
    assert std == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_the_commands_and_the_session_after_them(fewstep, tiny, tmp_path, monkeypatch):
    """Word for word, but for a tiny network, few steps and few images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copytree(README_FILE.parent / "tests" / "foreign", tmp_path / "tests" / "foreign")
    for i in range(32):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "fashion_mnist.npz", images=images, labels=np.arange(64) % 10)
    small = {"train": [word for override in tiny for word in ("--set", override)], "compare": ["--count", "20"]}
    small["tune-skips"] = ["--count", "20", "--values", "0.8,1"]
    assert [command[0] for command in COMMANDS] == [
        "train",
        "sample",
        "compare",
        "train",
        "data",
        "train",
        "train",
        "import",
        *2 * ["samplers"],
        *3 * ["sample"],
        "compare",
        "tune-skips",
        *2 * ["train"],
        "compare",
    ]
    for command in COMMANDS:
        status, _, err = fewstep(*command, *small.get(command[0], []))
        assert status == 0, err
    assert (tmp_path / "threes.png").stat().st_size > 1000
    assert (tmp_path / "runs/digits/compare/report.html").exists()
    for name in ("photos", "packed", "fashion"):
        assert (tmp_path / "runs" / name / "checkpoints").is_dir()
    names = {}
    exec(BLOCKS[1], names)
    assert names["images"].shape == (64, 8, 8, 1)
    assert np.abs(names["images"]).max() < 5


def test_the_table_of_samplers_is_the_registry():
    rows = re.findall(r"^\| .+ \| (`.+`) \| (`.+`) \|$", README, re.MULTILINE)
    named = {name: files for names, files in rows for name in re.findall(r"`(\w+)`", names)}
    assert sorted(named) == sorted(SAMPLERS)
    for name, files in named.items():
        assert f"`{SAMPLERS[name].rows.__module__.removeprefix('fewstep.samplers.')}.py`" in files
