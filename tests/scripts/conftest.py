"""The command line, run in this process."""

import sys

import pytest


@pytest.fixture
def fewstep(monkeypatch, capsys):
    """fewstep("sample", ...) -> (exit status, stdout, stderr)."""
    from fewstep.cli.cli import main

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
    from fewstep.cli import train

    folder = tmp_path_factory.mktemp("runs") / "digits"
    train.main("configs/digits/flow.gin", folder, tiny, False)
    return folder


@pytest.fixture(scope="session")
def moons_run(tmp_path_factory):
    """A finished tiny run on points."""
    from fewstep.cli import train

    folder = tmp_path_factory.mktemp("runs") / "moons"
    train.main(
        "configs/points/moons.gin",
        folder,
        ["MLP.width=32", "train.steps=4", "points.count=1000", "points.held_out=200"],
        False,
    )
    return folder
