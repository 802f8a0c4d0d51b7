"""The layout of the code: who imports whom, gin in one folder, every sampler registered, no file too long."""

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from fewstep.samplers import SAMPLERS

ROOT = Path(__file__).parent.parent
NAMES = {
    "diffusion": "diffusion",
    "samplers": "samplers",
    "train": "train",
    "zoo": "zoo",
    "evaluation": "evaluation",
    "scripts": "cli",
}
ORDER = tuple(NAMES.values())  # each imports itself and those before it
FILES = sorted(path.relative_to(ROOT) for folder in NAMES for path in (ROOT / folder).rglob("*.py"))
FRONT = sorted(path.relative_to(ROOT) for path in (ROOT / "fewstep").glob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))


def module(file):
    """fewstep.cli.config.load of scripts/config/load.py."""
    parts = [NAMES[file.parts[0]], *file.with_suffix("").parts[1:]]
    return ".".join(["fewstep", *(parts[:-1] if parts[-1] == "__init__" else parts)])


MODULES = {module(file): file for file in FILES}


def imports(source):
    """(module, name or None) of everything that is imported anywhere in the file."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, None) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from ((node.module, name.name) for name in node.names)


def forbidden(folder, source):
    """What a file of the folder may not import: later folders, and the folders under their bare names."""
    found = {(name, inner) for name, inner in imports(source)}
    parts = {
        name.split(".")[1] if name.count(".") else inner for name, inner in found if name.split(".")[0] == "fewstep"
    }
    bare = {name.split(".")[0] for name, _ in found} & {*NAMES, "configs", "tests"}
    return bare | (parts - {"errors", "ranges", *ORDER[: ORDER.index(NAMES[folder]) + 1]})


def test_imports_follow_the_arrows():
    wrong = {str(file): bad for file in FILES if (bad := forbidden(file.parts[0], (ROOT / file).read_text()))}
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        "import fewstep.samplers.loop",
        "def f():\n    from fewstep.train import ema",
        "import os, scripts",
        "import fewstep",
    ],
)
def test_imports_against_the_arrows_are_seen(source):
    assert forbidden("diffusion", source)


def depends(file):
    """The modules that a file imports, wherever in it: also within a function, where a circle would only hide."""
    for name, inner in imports((ROOT / file).read_text()):
        whole = f"{name}.{inner}"
        if whole in MODULES or name in MODULES:
            yield whole if whole in MODULES else name


def circles(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_imports_in_a_circle():
    """A package's own __init__ is what its name stands for; a file within does not count as depending on it."""
    graph = {name: {other for other in depends(file) if other != name} for name, file in MODULES.items()}
    assert circles(graph) is None


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"a"}})


def test_gin_has_one_importer():
    named = {file: {name.split(".")[0] for name, _ in imports((ROOT / file).read_text())} for file in [*FILES, *FRONT]}
    users = {str(file.parent) for file, names in named.items() if "gin" in names}
    assert users == {"scripts/config"}


def test_every_folder_of_code_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {module(file) for file in FILES if file.name == "__init__.py"}
    assert set(listed) == folders | {"fewstep", "fewstep.configs"}
    assert listed == sorted(listed)


def rows_of(source):
    """Public functions of (process, grid, ...)."""
    for node in ast.parse(source).body:
        public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if public and [argument.arg for argument in node.args.args[:2]] == ["process", "grid"]:
            yield node.name


def test_every_sampler_is_registered():
    """steps.py walks a grid for all of them; amed.py has rows for a predictor, which a fit makes."""
    others = {"steps.py", "amed.py"}
    files = [ROOT / file for file in FILES if file.parts[0] == "samplers" and file.name not in others]
    found = {name for file in files for name in rows_of(file.read_text())}
    assert found == set(SAMPLERS)
    assert {name: sampler.name for name, sampler in SAMPLERS.items()} == {name: name for name in SAMPLERS}


def test_no_file_is_longer_than_300_lines():
    lengths = {str(file): len((ROOT / file).read_text().splitlines()) for file in [*FILES, *FRONT, *TESTS]}
    assert {file: length for file, length in lengths.items() if length > 300} == {}


def test_training_has_six_files_at_the_top():
    """The loop, a step, what they carry and share; all else has a room."""
    top = {path.stem for path in (ROOT / "train").glob("*.py")} - {"__init__"}
    assert top == {"loop", "step", "state", "ema", "experiment", "sharding"}
