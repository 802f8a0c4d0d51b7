"""What the README and the pages by task show works as shown, in the order of reading; continuous integration also runs
`make demo` and `make test`."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewstep.samplers import SAMPLERS

ROOT = Path(__file__).parents[2]
SAMPLERS_PAGE = (ROOT / "docs/samplers/README.md").read_text()
PAGES = ["README.md", *(f"docs/{name}.md" for name in ("start", "train", "sample"))]
PAGES += [f"docs/{name}/README.md" for name in ("samplers", "levers", "few_steps")]
SMALL = {
    "compare": ["--count", "20"],
    "tune-skips": ["--count", "20", "--values", "0.8,1"],
    "recommend": ["--sampler", "ddim,dpmpp_2m", "--grid", "uniform", "--sweep", "cfg.scale=2", "--count", "125"],
}


def commands(page):
    """The arguments of each `fewstep` that the page shows."""
    lines = re.findall(r"^    fewstep (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_oracle_example(capsys):
    (block,) = blocks("docs/samplers/README.md")
    exec(block, {})
    mean, std = map(float, capsys.readouterr().out.split())
    assert mean == pytest.approx(0.2, abs=0.02)
    assert std == pytest.approx(0.5, abs=0.02)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages take as given: a folder of photographs, a file of Fashion-MNIST, the tests of a checkout."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copytree(ROOT / "tests" / "foreign", tmp_path / "tests" / "foreign")
    for i in range(32):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "fashion_mnist.npz", images=images, labels=np.arange(64) % 10)
    return tmp_path


def of_test(command, tiny):
    """The command, word for word but for a tiny network, few steps and few images."""
    if command[0] == "train":
        config, *words = command[1:]
        words = [re.sub(r"train\.steps=\d+", "train.steps=9", word) for word in words]
        command = ["train", config, *(word for override in tiny for word in ("--set", override)), *words]
    return [*command, *SMALL.get(command[0], [])]


@pytest.mark.slow
def test_the_commands_of_the_pages_in_the_order_of_reading(fewstep, tiny, folder):
    shown = {page: commands(page) for page in PAGES}
    assert all(shown.values())
    example = [command for command in commands("docs/import.md") if "tests/foreign/ddpm-digits" in command]
    for command in [*(command for page in PAGES for command in shown[page]), *example]:
        status, _, err = fewstep(*of_test(command, tiny))
        assert status == 0, (command, err)
    assert (folder / "threes.png").stat().st_size > 1000
    assert (folder / "runs/digits/compare/report.html").exists()
    for name in ("photos", "packed", "fashion", "ddpm"):
        assert (folder / "runs" / name / "checkpoints").is_dir()
    assert (folder / "coming-trajectory.png").exists()
    for page in ("README.md", "docs/sample.md"):
        names = {}
        exec(blocks(page)[0], names)
        assert names["images"].shape == (64, 8, 8, 1)
        assert np.abs(names["images"]).max() < 5


def test_the_table_of_samplers_is_the_registry():
    rows = re.findall(r"^\| .+ \| (`.+`) \| (`.+`) \|$", SAMPLERS_PAGE, re.MULTILINE)
    named = {name: files for names, files in rows for name in re.findall(r"`(\w+)`", names)}
    assert sorted(named) == sorted(SAMPLERS)
    for name, files in named.items():
        assert f"`{SAMPLERS[name].rows.__module__.removeprefix('fewstep.samplers.')}.py`" in files
