"""Every optimizer under the training loop: resumed to the bit, with what it logs."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from fewstep.diffusion.networks import DiT
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.data import digits
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare, train
from fewstep.train.objectives import Denoising
from fewstep.train.optimizers import OPTIMIZERS


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_to_the_last_bit(name, tmp_path):
    """Moments, the vectors of spectral decay, and averages from which others are rebuilt."""
    options = {"accumulate": 2} if name == "tiger" else {}
    optimizer = partial(OPTIMIZERS[name], warmup=2, clip=0.1, spectral_decay=0.1, **options)
    network = partial(DiT, width=16, depth=1, heads=2)
    settings = {"steps": 6, "batch_size": 8, "save_every": 3, "log_every": 1, "ema_lengths": (0.05, 0.1)}
    run = prepare(Experiment(digits, network, Denoising(), optimizer, **settings), digits())
    assert train(run, tmp_path / "whole") == 6
    train(run, tmp_path / "parted")
    assert train(run, tmp_path / "parted", step=3) == 6
    like = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), run.fresh.eval_shape(), run.placed
    )
    states = []
    for folder in ("whole", "parted"):
        with Checkpoints(tmp_path / folder / "checkpoints", create=False) as checkpoints:
            states.append(checkpoints.restore(6, like))
    jax.tree.map(np.testing.assert_array_equal, *states)
    fresh = run.fresh()
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), states[0].params, fresh.params)
    assert all(jax.tree.leaves(moved))
    lines = [json.loads(line) for line in (tmp_path / "parted" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        np.testing.assert_allclose(line["clip"], max(0, 1 - 0.1 / line["grad_norm"]), rtol=1e-5)
        assert line["lr"] > 0
