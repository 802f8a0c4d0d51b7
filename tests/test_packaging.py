"""What is installed: one name, usable beside a user's own files; from a wheel, an sdist and an editable install."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
USE = """
import fewstep, fewstep.train.loop, fewstep.evaluation.compare, fewstep.cli.verbs.sample
from fewstep.diffusion import oracles

table = fewstep.table_at(fewstep.SAMPLERS["ddim"], fewstep.VP(), 2)
images = fewstep.draw(oracles.gaussian(fewstep.VP(), mean=0.2, std=0.5), table, seeds=range(2), shape=(4, 4, 1))
print(images.shape)
"""
SHAPE = "(2, 4, 4, 1)"
WORKERS = f"""
import multiprocessing

def work(_):
    {USE.strip().replace(chr(10), chr(10) + "    ")}
    return images.shape

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [0])[0])
"""


def run(*words, cwd, env=None):
    done = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files that git tracks: what is built leaves nothing in the checkout, and takes nothing from it."""
    folder = tmp_path_factory.mktemp("source") / "checkout"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def pip(*words, cwd, python=sys.executable):
    return run(python, "-m", "pip", "--disable-pip-version-check", *words, "--no-deps", cwd=cwd)


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "-w", folder, ".", cwd=source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, source, tmp_path_factory):
    """The python of an environment with fewstep, and with what it needs from this one."""
    folder = tmp_path_factory.mktemp(request.param) / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(
        python, "-m", "pip", "--disable-pip-version-check", "uninstall", "--yes", "setuptools", cwd=folder
    )  # of 3.11: old
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A path of a .pth file is searched, but its own .pth files, such as that of an editable fewstep, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if request.param == "wheel":
        pip("install", request.getfixturevalue("wheel"), cwd=folder, python=python)
    else:
        pip("install", "--no-build-isolation", "--editable", source, cwd=folder, python=python)
    return python


@pytest.fixture
def hostile(tmp_path):
    """A folder with files of the user's own that are called as ours are."""
    for name in ("train.py", "samplers.py", "evaluation.py", "scripts/__init__.py", "diffusion/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the user, not of fewstep')\n")
    for name in ("configs", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "workers.py").write_text(WORKERS)
    (tmp_path / "tests" / "test_use.py").write_text("def test_use():\n    import use\n")
    return tmp_path


def test_one_name_is_installed(installed, tmp_path):
    files = pip_files(installed, tmp_path)
    own = {name.split("/")[0] for name in files}
    allowed = ("fewstep-", "__editable__", "__pycache__", "..")
    assert {name for name in own if not name.startswith(allowed)} <= {"fewstep"}
    top = next(name for name in files if name.endswith("top_level.txt"))
    assert (site_of(installed, tmp_path) / top).read_text().split() == ["fewstep"]


def pip_files(python, cwd):
    shown = run(python, "-m", "pip", "--disable-pip-version-check", "show", "-f", "fewstep", cwd=cwd)
    return [line.strip() for line in shown.partition("Files:")[2].splitlines() if line.strip()]


def site_of(python, cwd):
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=cwd).strip())


def test_it_works_beside_files_of_the_same_names(installed, hostile):
    path = {**os.environ, "PYTHONPATH": str(hostile)}  # the user's files come first
    binaries = installed.parent
    assert SHAPE in run(installed, "use.py", cwd=hostile)
    assert SHAPE in run(installed, "-c", USE, cwd=hostile, env=path)
    assert SHAPE in run(installed, "-m", "use", cwd=hostile)
    assert SHAPE in run(installed, "workers.py", cwd=hostile)
    assert "1 passed" in run(installed, "-m", "pytest", "-q", "tests", cwd=hostile, env=path)
    for command in ((binaries / "fewstep",), (installed, "-m", "fewstep")):
        assert "lr" in run(*command, "config", "configs/digits/flow.gin", cwd=hostile, env=path)


def test_it_works_in_a_notebook_kernel(installed, hostile):
    """As a notebook is run: a kernel of this python, started in the folder of the notebook."""
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(USE)])
    nbformat.write(book, hostile / "use.ipynb")
    code = (
        "import sys, nbformat; from nbclient import NotebookClient; from jupyter_client import KernelManager; "
        "book = nbformat.read('use.ipynb', 4); manager = KernelManager(); "
        "manager.kernel_spec.argv[0] = sys.executable; "
        "done = NotebookClient(book, km=manager, resources={'metadata': {'path': '.'}}).execute(); "
        "print(done.cells[0].outputs[0].text)"
    )
    assert SHAPE in run(installed, "-c", code, cwd=hostile)


def contents(archive):
    with zipfile.ZipFile(archive) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_every_file_and_so_has_that_of_the_sdist(source, wheel, tmp_path):
    folders = {"scripts": "cli"}
    wanted = {
        "/".join(["fewstep", folders.get(folder, folder), *path.relative_to(source / folder).parts])
        for folder in ("diffusion", "samplers", "train", "zoo", "evaluation", "scripts", "configs")
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {f"fewstep/{path.name}" for path in (source / "fewstep").glob("*") if path.is_file()}
    assert contents(wheel) == wanted
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", code, cwd=source)
    pip("wheel", "--no-build-isolation", "-w", tmp_path, next(tmp_path.glob("*.tar.gz")), cwd=tmp_path)
    assert contents(next(tmp_path.glob("*.whl"))) == wanted
