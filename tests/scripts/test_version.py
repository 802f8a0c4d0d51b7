"""fewstep --version, as a report of a bug has it."""

import platform
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_versions(fewstep):
    status, out, _ = fewstep("--version")
    told = dict(line.split(" ", 1) for line in out.splitlines())
    assert status == 0
    assert told["fewstep"] == version("fewstep")
    assert (told["python"], told["jax"]) == (platform.python_version(), version("jax"))
    assert told["platform"] == platform.platform()


def test_they_need_no_jax():
    code = "import sys; from fewstep.train.utils.versions import commit, versions; versions(), commit(); "
    code += "print({'jax', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_changelog_begins_with_this_version():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first.startswith((f"## {known} - ", "## Unreleased"))
