"""A small finished run with every file that a run may have, and the command line, watched."""

import shutil
from functools import partial

import numpy as np
import pytest
from command_lines import SETTINGS, scenery
from corruptions import MAKING
from results import results
from watched import watched

import fewstep as package


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A finished tiny run on digits, with checkpoints at its steps 1 and 2."""
    folder = tmp_path_factory.mktemp("trained")
    made = watched(["train", "configs/digits/flow.gin", "--run", "run", *SETTINGS], folder)
    assert made.wrong() is None, made
    return folder / "run"


@pytest.fixture(scope="session")
def whole_runs(trained_run, tmp_path_factory):
    """(a folder with runs that have every file that a command or Python makes, {words: their results})."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    shutil.copytree(trained_run, folder / "run")
    points = np.tanh(np.random.default_rng(0).standard_normal((200, 2)))
    package.train_run(folder / "given", data=points, network=partial(package.MLP, width=8), steps=2, batch_size=4)
    assert (folder / "given" / "data.npz").exists()
    for words in MAKING:
        made = watched(words, folder)
        assert made.status == 0, made
        found[tuple(words)] = results(words[0], folder, words[1])
    return folder, found


@pytest.fixture(autouse=True)
def emptied(tmp_path):
    """The folder of a test is removed: pytest would keep the copies of a hundred thousand files."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture
def place(trained_run, tmp_path):
    """A folder with all that the generated lines name."""
    shutil.copytree(trained_run, tmp_path / "run")
    scenery(tmp_path)
    return tmp_path


@pytest.fixture
def fewstep(tmp_path):
    """fewstep(words) -> End, in the folder of the test."""
    return partial(watched, folder=tmp_path)
