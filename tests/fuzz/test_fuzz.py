"""Whatever is typed and whatever stands in a file, a command ends with status 0 or with one line for the user, soon;
and damage to a run is noticed or changes no image.

The slow tests take a third of the seeds; FEWSTEP_FUZZ=whole takes all.  To repeat what failed with a seed:
FEWSTEP_FUZZ=whole pytest -m "slow or not slow" "tests/fuzz/test_fuzz.py::test_command_lines[123]"
"""

import os
import shutil

import pytest
from command_lines import command_line
from corruptions import corrupt
from files import hostile
from results import results


def seeds(quick, whole):
    """The seeds of a test; those after the first `quick` are slow."""
    whole = whole if os.environ.get("FEWSTEP_FUZZ") == "whole" else whole // 3
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed >= quick else []) for seed in range(whole)]


@pytest.mark.parametrize("seed", seeds(12, 500))
def test_command_lines(fewstep, place, seed):
    end = fewstep(command_line(seed))
    assert end.wrong() is None, f"seed {seed}: {end}"


@pytest.mark.filterwarnings(r"ignore:::PIL\.")  # as the command line does, until pytest shows all warnings
@pytest.mark.parametrize("seed", seeds(8, 100))
def test_hostile_files(fewstep, place, seed):
    end = fewstep(hostile(seed, place))
    assert end.wrong() is None, f"seed {seed}: {end}"


@pytest.mark.parametrize("seed", seeds(0, 200))
def test_corruptions(fewstep, whole_runs, tmp_path, seed):
    folder, expected = whole_runs
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file, how, words = corrupt(seed, tmp_path)
    end = fewstep(words)
    assert end.wrong() is None, f"seed {seed}, {how} {file}: {end}"
    if end.status == 0 and tuple(words) in expected and "is passed over" not in end.err:
        assert results(words[0], tmp_path, words[1]) == expected[tuple(words)], f"seed {seed}, {how} {file}: {end}"
