"""The layout of the code: who imports whom, gin in one file, every sampler registered, no file too long."""

import ast
from pathlib import Path

import pytest

from fewstep.samplers import SAMPLERS

ROOT = Path(__file__).parent.parent
ORDER = ("diffusion", "samplers", "train", "evaluation", "scripts")  # each imports itself and those before it
FILES = sorted(path.relative_to(ROOT) for folder in ORDER for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))


def imported(source):
    """The first names of all modules that are imported, anywhere in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield node.module.split(".")[0]


def forbidden(folder, source):
    return set(imported(source)) & {*ORDER[ORDER.index(folder) + 1 :], "tests", "fewstep"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_follow_the_arrows(file):
    assert not forbidden(file.parts[0], (ROOT / file).read_text())


@pytest.mark.parametrize(
    "source", ["import samplers.loop", "def f():\n    from fewstep.train import ema", "import os, scripts"]
)
def test_imports_against_the_arrows_are_seen(source):
    assert forbidden("diffusion", source)


def test_gin_has_one_importer():
    users = [file for file in [*FILES, Path("fewstep.py")] if "gin" in imported((ROOT / file).read_text())]
    assert users == [Path("scripts/config.py")]


def rows_of(source):
    """Public functions of (process, grid, ...)."""
    for node in ast.parse(source).body:
        public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if public and [argument.arg for argument in node.args.args[:2]] == ["process", "grid"]:
            yield node.name


def test_every_sampler_is_registered():
    """steps.py walks a grid for all of them."""
    files = [ROOT / file for file in FILES if file.parts[0] == "samplers" and file.name != "steps.py"]
    found = {name for file in files for name in rows_of(file.read_text())}
    assert found == set(SAMPLERS)
    assert {name: sampler.name for name, sampler in SAMPLERS.items()} == {name: name for name in SAMPLERS}


@pytest.mark.parametrize("file", [*FILES, *TESTS], ids=str)
def test_no_file_is_longer_than_300_lines(file):
    assert len((ROOT / file).read_text().splitlines()) <= 300
