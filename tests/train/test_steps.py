"""Which step is opened: a damaged one names the newest whole one, and later ones are set aside."""

from functools import partial

import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from fewstep.train.checkpoints import digests
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.state import initial_state
from fewstep.train.utils.errors import CheckpointError


def state_of(step):
    state = initial_state({"net": {"kernel": np.full(4, step, np.float32)}}, ("0.9",), optax.sgd(0.1, momentum=0.9))
    return state._replace(step=np.int32(step), nonfinite_steps=np.int32(0))


def save(folder, *steps):
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_of(step))


def damage(folder, step):
    (folder / str(step) / "ema" / "manifest.ocdbt").write_bytes(b"")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_whole_step_is_named(tmp_path):
    save(tmp_path, 1, 2, 3)
    damage(tmp_path, 3)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match=r"/3 is damaged .*ema/manifest.ocdbt.* intact one is step 2.*step=2"):
            checkpoints.restore(3, state_of(0))
        damage(tmp_path, 2)
        with pytest.raises(CheckpointError, match=r"intact one is step 1.*step=1"):
            checkpoints.restore(3, state_of(0))
        assert int(checkpoints.restore(1, state_of(0)).step) == 1
        damage(tmp_path, 1)
        with pytest.raises(CheckpointError, match=r"no other step is intact"):
            checkpoints.restore(3, state_of(0))
    assert names(tmp_path) == ["1", "2", "3"]


def test_later_steps_are_set_aside_and_stay(tmp_path, capsys):
    save(tmp_path, 1, 2, 3)
    for round_ in ("", "2"):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.set_aside(1)
            assert checkpoints.latest() == 1
            assert f"from step 1: the later checkpoints in {tmp_path} are now 2.aside{round_}, 3.aside{round_}" in (
                capsys.readouterr().err
            )
            checkpoints.save(2, state_of(20))
            checkpoints.save(3, state_of(30))
    save(tmp_path, 4, 5, 6)  # Orbax removes steps that are no longer kept
    assert names(tmp_path) == ["2.aside", "2.aside2", "3.aside", "3.aside2", "4", "5", "6"]
    assert all(digests.damage(path) is None for path in tmp_path.iterdir())


def test_nothing_is_set_aside_where_nothing_is_later(tmp_path, capsys):
    save(tmp_path, 1, 2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.set_aside(2)
    assert names(tmp_path) == ["1", "2"]
    assert capsys.readouterr().err == ""


def test_steps_are_sealed_where_folders_cannot_be_renamed(tmp_path, monkeypatch):
    """As in a bucket: Orbax writes into the final folder, and last a file that says it is final."""
    mode = ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE)
    options = partial(ocp.CheckpointManagerOptions, atomicity_options=mode)
    monkeypatch.setattr(ocp, "CheckpointManagerOptions", options)
    written, write = [], digests.write
    monkeypatch.setattr(digests, "write", lambda folder: (written.append(names(folder)), write(folder)))
    save(tmp_path, 1, 2)
    assert len(written) == 2
    assert all("commit_success.txt" not in found and "ema" in found for found in written)
    assert [digests.damage(tmp_path / step) for step in "12"] == [None, None]
    (tmp_path / "2" / "commit_success.txt").unlink()  # as if the process had been killed before
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.save(2, state_of(2))
    assert digests.damage(tmp_path / "2") is None
