"""The command line, run in this process."""

import sys
from pathlib import Path

import pytest
from trained_run import trained


@pytest.fixture
def fewstep(monkeypatch, capsys):
    """fewstep("sample", ...) -> (exit status, stdout, stderr)."""
    from fewstep.cli.main import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fewstep", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a digits run small enough for a test."""
    return [
        "UNet.base=8", "UNet.blocks=1", "UNet.mult=(1,)", "UNet.attention=()", "train.steps=6", "train.save_every=3",
        "train.log_every=1", "train.preview_every=6", "train.batch_size=16",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def digits_run(tiny, tmp_path_factory):
    """A finished tiny run on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    trained("configs/digits/flow.gin", folder, tiny)
    return folder


@pytest.fixture(scope="session")
def moons_run(tmp_path_factory):
    """A finished tiny run on points."""
    folder = tmp_path_factory.mktemp("runs") / "moons"
    small = ["MLP.width=32", "train.steps=4", "points.count=1000", "points.held_out=200"]
    trained("configs/points/moons.gin", folder, small)
    return folder


@pytest.fixture(scope="session")
def imported(tmp_path_factory):
    """The run of a pipeline that diffusers trained on the digits (tests/foreign), with them as its data."""
    from fewstep.cli.verbs.import_model import main

    folder = tmp_path_factory.mktemp("imported") / "ddpm"
    main(str(Path(__file__).parents[1] / "foreign" / "ddpm-digits"), str(folder), None, None, "digits")
    return folder
