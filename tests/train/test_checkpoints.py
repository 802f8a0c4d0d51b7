"""What is saved comes back, and what is not as it was saved is found."""

import random
import shutil

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from fewstep.train.checkpoints import digests
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.state import initial_state
from fewstep.train.utils.errors import CheckpointError


def state_of(width):
    params = {"net": {"kernel": np.arange(4.0 * width, dtype=np.float32).reshape(4, width), "list": {0: np.ones(3)}}}
    return initial_state(jax.tree.map(np.float32, params), ("0.9", "0.999"), optax.adam(1e-3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Steps 1 to 5 of a run that keeps three."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state_of(6)._replace(step=np.int32(step), nonfinite_steps=np.int32(2)))
    return folder


def test_a_state_comes_back_whole(saved):
    like = state_of(6)
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.latest() == 5
        state = checkpoints.restore(5, like)
    assert (int(state.step), int(state.nonfinite_steps)) == (5, 2)
    jax.tree.map(
        np.testing.assert_array_equal,
        state._replace(step=0, nonfinite_steps=0),
        like._replace(step=0, nonfinite_steps=0),
    )
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(like.opt_state)


def test_compressed_checkpoints_of_earlier_versions_open(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "checkpoints")
    shutil.rmtree(folder / "5" / "ema")
    with ocp.StandardCheckpointer() as orbax:  # which compresses
        orbax.save(folder / "5" / "ema", state_of(6).ema)
    digests.write(folder / "5")
    with Checkpoints(folder) as checkpoints:
        ema = checkpoints.restore_ema(5, state_of(6).ema)
    jax.tree.map(np.testing.assert_array_equal, ema, state_of(6).ema)


def test_the_averages_open_without_the_optimiser(saved):
    with Checkpoints(saved) as checkpoints:
        ema = checkpoints.restore_ema(5, state_of(6).ema)
    jax.tree.map(np.testing.assert_array_equal, ema, state_of(6).ema)


def test_every_step_kept_is_sealed(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["3", "4", "5"]
    assert all((saved / step / "digests.json").is_file() for step in "345")


def test_another_model_is_told_by_its_first_difference(saved):
    with Checkpoints(saved) as checkpoints:
        with pytest.raises(CheckpointError, match=r"another model: .*kernel has shape \(4, 6\) in it and \(4, 7\)"):
            checkpoints.restore(5, state_of(7))
        with pytest.raises(CheckpointError, match=r"another model: 0\.9\.net\.bias has shape none in it and \(2,\)"):
            checkpoints.restore_ema(5, {"0.9": {"net": {"bias": np.zeros(2)}}})


def test_a_step_that_is_not_there(saved):
    with Checkpoints(saved) as checkpoints, pytest.raises(CheckpointError, match=r"no step 1 \(it has: 3, 4, 5\)"):
        checkpoints.restore(1, state_of(6))


def flipped(path, rng):
    """One bit of the file turned over; returns what it held before."""
    before = path.read_bytes()
    place, bit = rng.randrange(len(before)), rng.randrange(8)
    path.write_bytes(before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :])
    return before


def removed(path, rng):
    """The file taken away; returns what it held."""
    before = path.read_bytes()
    path.unlink()
    return before


def test_flipped_bits_and_missing_files_are_found(saved):
    rng = random.Random(0)
    files = sorted(path for path in (saved / "5").rglob("*") if path.is_file() and path.parent != saved / "5")
    with Checkpoints(saved) as checkpoints:
        for path in rng.sample(files, 20):
            for damage, word in ((flipped, "has changed"), (removed, "is missing")):
                before = damage(path, rng)
                with pytest.raises(CheckpointError, match=rf"5 is damaged \(.*{path.name} {word}"):
                    checkpoints.restore(5, state_of(6))
                path.write_bytes(before)
        checkpoints.restore(5, state_of(6))
        seal = saved / "5" / "digests.json"
        for text, word in (("{}", "is not in digests.json"), ("[", "digests.json is damaged"), ("3", "has changed")):
            before = seal.read_bytes()
            seal.write_text(text)
            with pytest.raises(CheckpointError, match=rf"5 is damaged \(.*{word}"):
                checkpoints.restore(5, state_of(6))
            seal.write_bytes(before)
