"""A time as a number of steps."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import Linear
from fewstep.diffusion.oracles import Gaussian
from fewstep.errors import UsageError
from fewstep.train.data.split import Batch
from fewstep.train.run import limit
from fewstep.train.run.limit import steps_within
from fewstep.train.sharding import make_mesh


@pytest.fixture
def training(monkeypatch):
    """training(steps): the first step takes 10 seconds, as it is compiled, and every other one half a second; a preview
    every 1000 steps of 4 points, which shows 1000 points by 2 network calls."""
    clock = [0.0]
    monkeypatch.setattr(limit.time, "monotonic", lambda: clock[0])

    def step(state, batch):
        clock[0] += 0.5 if clock[0] else 10
        return state, {"loss": jnp.zeros(())}

    def stream(start, steps, rows):
        yield from (Batch(np.zeros((4, 2), np.float32), None) for _ in range(start, steps))

    def made(steps):
        clock[0] = 0.0
        model = SimpleNamespace(denoiser=lambda shapes: Gaussian(Linear(), 0.0, 1.0))
        experiment = SimpleNamespace(
            batch_size=4, steps=steps, levers=(), preview_every=1000, abstract=lambda shape, classes: (model, None)
        )
        data = SimpleNamespace(shape=(2,), classes=0)
        whole = {"experiment": experiment, "mesh": make_mesh((1, 1, 1)), "data": data}
        return SimpleNamespace(fresh=lambda: 0, step=step, batches=SimpleNamespace(stream=stream), **whole)

    return made


def test_as_many_steps_as_fit(training, capsys):
    # 600 seconds, of which 13 are over after six more steps, and 10 are for another compilation; previews are 2000 or
    # 3000 network calls to 4000 of training, which take three times as long
    for scored, of_previews in ((0, 1 / 6), (500, 1 / 4)):
        fit = int(0.95 * (600 - 13 - 10) / (0.5 * (1 + of_previews)))
        assert steps_within(training(10**6), 10, scored) == fit
        assert f"{fit} steps of 500 ms fit into 10 minutes" in capsys.readouterr().err
    assert steps_within(training(7), minutes=10) == 7
    assert "all 7 steps fit into 10 minutes: train.steps = 7" in capsys.readouterr().err


def test_no_time_for_a_step(training):
    with pytest.raises(UsageError, match=r"train.minutes = 0.3 leave no time for steps, after 10 s of compilation"):
        steps_within(training(100), minutes=0.3)
