"""Data, optimizers and objectives that are given in Python: their forms, and what is refused before training."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fewstep
from fewstep.cli.config.given import usable
from fewstep.diffusion import Linear
from fewstep.diffusion.networks import MLP
from fewstep.errors import UsageError
from fewstep.train.data.split import Batch
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising, Objective
from fewstep.train.objectives.times import uniform
from fewstep.train.optimizers import adamw

RNG = np.random.default_rng(0)
POINTS = np.tanh(RNG.standard_normal((40, 2))).astype(np.float32)
LABELS = np.arange(40) % 3
IMAGES = RNG.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("data", "classes"),
    [
        (POINTS, 0),
        ((POINTS, LABELS), 3),
        ([POINTS, LABELS], 3),
        (lambda: POINTS, 0),
        (lambda: (POINTS, LABELS), 3),
        (usable("data", POINTS), 0),
        (list(POINTS), 0),
        (list(IMAGES), 0),
    ],
)
def test_data(data, classes):
    made = usable("data", data)()
    assert made.classes == classes
    assert len(made.train) + len(made.held_out) == 40


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ((POINTS, LABELS, LABELS), "got 3 parts"),
        (lambda path: POINTS, "without arguments.*'path'"),
    ],
)
def test_data_that_are_refused(data, part):
    with pytest.raises(UsageError, match=part):
        usable("data", data)()


@pytest.mark.parametrize(
    "optimizer", [optax.adam(1e-3), lambda steps: optax.adam(1 / steps), partial(adamw, lr=1e-2), adamw]
)
def test_optimizers(optimizer):
    assert isinstance(usable("optimizer", optimizer)(10), optax.GradientTransformation)


@pytest.mark.parametrize("optimizer", [optax.adam, optax.sgd, lambda: optax.adam(1e-3), "adam", lambda n: None])
def test_optimizers_that_are_refused(optimizer):
    """optax.adam would take the number of steps for its learning rate."""
    with pytest.raises(UsageError, match=r"write optax.adam\(1e-3\)"):
        usable("optimizer", optimizer)


def prepared(**parts):
    parts = {"objective": Denoising(), "optimizer": optax.sgd(0.1), "data": POINTS} | parts
    made = {name: usable(name, value) for name, value in parts.items()}
    network = partial(MLP, width=8, depth=1)
    experiment = Experiment(network=network, batch_size=4, **made)
    return prepare(experiment, experiment.data())


class Silent(Objective):
    pass


class Returns(Objective):
    def __init__(self, value):
        self.value = value

    def __call__(self, model, params, state, examples):
        return self.value


@pytest.mark.parametrize(
    ("parts", "part"),
    [
        ({"objective": Silent()}, "Silent needs a method __call__"),
        ({"objective": Returns(jnp.zeros(()))}, "Returns returned"),
        ({"objective": Returns((jnp.zeros(3), {}))}, "numbers: Returns returned"),
        ({"objective": Returns((jnp.zeros(()), {"a": jnp.zeros(3)}))}, "numbers: Returns returned"),
        ({"objective": Returns((jnp.zeros(()), jnp.zeros(())))}, "Returns returned"),
        ({"objective": Returns(None)}, "Returns returned None"),
        ({"optimizer": lambda steps: 3}, "must return an optax transformation.*got 3"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(parts, part):
    with pytest.raises(UsageError, match=part):
        prepared(**parts)


class ByAttribute(Objective):
    times = uniform


class ByMethod(Objective):
    def times(self, process, key, n):
        return uniform(process, key, n)


@dataclass(frozen=True)
class ByField(Denoising):
    times: Callable = uniform


class Again(ByAttribute):
    """Inherits the times of another one."""


def test_the_times_of_an_objective():
    """As an attribute, as a method and as a field; `times` never takes the objective for the process."""
    model = prepared().model
    draw = partial(Objective.draw, model=model, batch=Batch(jnp.asarray(POINTS), None), key=jax.random.key(0))
    for_times = jax.random.split(jax.random.key(0), 4)[0]
    wanted = uniform(Linear(), for_times, len(POINTS))
    for objective in (ByAttribute(), ByMethod(), ByField(), Denoising(times=uniform), Again()):
        np.testing.assert_array_equal(draw(objective).t, wanted)


class Forgotten(Denoising):
    times = uniform


@pytest.mark.parametrize(
    "kind", [Forgotten, dataclass(frozen=True)(type("Unannotated", (Denoising,), {"label_drop": 0.5}))]
)
def test_values_of_fields_that_python_would_ignore_are_refused(kind):
    with pytest.raises(UsageError, match=f"{kind.__name__}.* is a field: annotate it"):
        kind()


class Breaking(Denoising):
    """Its loss is not a number from the sixth step on."""

    def __call__(self, model, params, state, examples):
        loss, metrics = super().__call__(model, params, state, examples)
        return jnp.where(state.step < 5, loss, jnp.nan), metrics


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_training_and_is_logged_as_null(tmp_path):
    run, never = tmp_path / "run", {"save_every": 200, "preview_every": 200}
    with pytest.raises(UsageError, match="NaN or infinite"):
        fewstep.train_run(
            run, data=POINTS, network=MLP, objective=Breaking(), steps=200, log_every=1, batch_size=16, **never
        )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert all((losses[step] is None) == (step > 5) for step in losses)
    assert 5 < max(losses) < 200
    assert list((run / "checkpoints").iterdir()) == []
