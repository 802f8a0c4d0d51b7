"""A time as a number of steps."""

import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.errors import UsageError
from fewstep.train.data.split import Batch
from fewstep.train.run import limit
from fewstep.train.run.limit import steps_within
from fewstep.train.sharding import make_mesh

EACH = 0.02  # seconds of a step, at least


def training(steps):
    def step(state, batch):
        time.sleep(EACH)
        return state, {"loss": jnp.zeros(())}

    def stream(start, steps, rows):
        yield from (Batch(np.zeros((4, 2), np.float32), None) for _ in range(start, steps))

    experiment = SimpleNamespace(batch_size=4, steps=steps)
    return SimpleNamespace(
        experiment=experiment,
        mesh=make_mesh((1, 1, 1)),
        fresh=lambda: 0,
        step=step,
        batches=SimpleNamespace(stream=stream),
    )


def test_as_many_steps_as_fit(monkeypatch):
    monkeypatch.setattr(limit, "MEASURED", 0.2)
    found = steps_within(training(10**6), minutes=0.1)
    assert 1 <= found <= 6 / EACH  # a busy machine makes fewer
    assert found < steps_within(training(10**6), minutes=10) <= 600 / EACH
    assert steps_within(training(7), minutes=10) == 7


def test_no_time_for_a_step(monkeypatch):
    monkeypatch.setattr(limit, "MEASURED", 0.2)
    with pytest.raises(UsageError, match=r"train.minutes = 0.001 leave no time"):
        steps_within(training(100), minutes=0.001)
