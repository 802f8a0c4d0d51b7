"""Training of a generator and its fake score: whose turn it is, what is kept, and spikes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fewstep.diffusion.networks import MLP, DiT
from fewstep.train.checkpoints.warm_start import with_weights
from fewstep.train.data import digits, points
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import DMD, SiD
from fewstep.train.optimizers import adamw


def training(objective, **options):
    settings = {"steps": 60, "batch_size": 16, "ema": (0.9,), "optimizer": partial(adamw, warmup=2)} | options
    network, data = partial(MLP, width=16, depth=1), partial(points, count=200, held_out=50)
    return prepare(Experiment(data, network, objective, **settings), data())


def begun(run):
    """The state after the weights of another run, none of which is zero."""
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda a: np.float32(0.3 * rng.standard_normal(a.shape)), run.fresh().params["net"])
    return with_weights(run.fresh(), weights), weights


def updates(state, group):
    """How often the optimizer of a group has moved, as its moments and its schedule count."""
    return {int(count) for _, count in optax.tree.get_all_with_path(state.opt_state.inner_states[group], "count")}


def test_what_a_run_begins_with(capsys):
    """Generator, fake score and teacher are the other run; the fake score has moments, and no average."""
    run = training(SiD())
    assert "2 networks are trained: the state takes" in capsys.readouterr().err
    state, weights = begun(run)
    for found in (state.params["net"], state.params["score"], state.frozen["teacher"]["net"], state.ema["0.9"]["net"]):
        jax.tree.map(np.testing.assert_array_equal, found, weights)
    assert set(state.ema["0.9"]) == {"net"}
    size = sum(a.size for a in jax.tree.leaves(weights))
    moments = [a for a in jax.tree.leaves(state.opt_state) if a.ndim]
    assert sum(a.size for a in moments) == 4 * size


@pytest.mark.slow
@pytest.mark.parametrize("objective", [SiD(), DMD(calls=2, ratio=3)])
def test_updates_of_a_step(objective):
    """One of the generator, and `ratio` of the fake score, each with its own moments and schedule."""
    run = training(objective)
    state, _ = begun(run)
    for k in range(4):
        before = jax.tree.map(np.asarray, state.params)
        state, metrics = run.step(state, run.batches.batch(k))
    for group in ("net", "score"):
        assert optax.tree.norm(jax.tree.map(np.subtract, state.params[group], before[group])) > 0
    assert updates(state, "net") == {4}
    assert updates(state, "score") == {4 * objective.ratio}
    assert np.isfinite(list(metrics.values())).all()


def test_both_optimizers_know_the_heads_of_attentions():
    """Muon needs them."""
    known = []

    def recorded(steps, heads=None):
        known.append((steps, heads))
        return optax.sgd(0.1)

    network = partial(DiT, width=16, depth=2, heads=4)
    experiment = Experiment(digits, network, SiD(ratio=3, score_optimizer=recorded), recorded, steps=10)
    experiment.optimizer_for((8, 8, 1), 10)
    heads = {f"blocks.{i}.attention.qkv.kernel": 4 for i in range(2)}
    assert known == [(10, heads), (30, heads)]


@pytest.mark.slow
def test_further_updates_are_those_of_the_fake_score_alone():
    """It follows its generator more closely with three updates in a step than with one."""
    runs = [training(DMD(ratio=ratio, score_optimizer=lambda steps: optax.sgd(0.01))) for ratio in (1, 3)]
    found = []
    for run in runs:
        state, _ = begun(run)
        for k in range(10):
            state, metrics = run.step(state, run.batches.batch(k))
        found.append(float(metrics["loss"]))
    assert found[1] < found[0]


@pytest.mark.parametrize("objective", [SiD(), pytest.param(DMD(calls=2, ratio=2), marks=pytest.mark.slow)])
def test_a_spike_destroys_neither_network(objective):
    """A teacher of weights ten times too large for a step, then one that is not finite at all."""
    run = training(objective)
    state, weights = begun(run)
    history = []
    for k in range(20):
        scale = {10: 10.0, 11: np.nan}.get(k, 1.0)
        teacher = {"teacher": {"net": jax.tree.map(lambda a, scale=scale: jnp.asarray(scale * a), weights)}}
        history.append(jax.tree.map(np.asarray, (state.params, state.ema, state.opt_state)))
        state, metrics = run.step(state._replace(frozen=teacher), run.batches.batch(k))
        assert int(state.nonfinite_steps) == (k == 11)
    jax.tree.map(np.testing.assert_array_equal, history[12], history[11])
    moved = jax.tree.map(lambda a, b: float(abs(np.asarray(a) - b).max()), state.params, history[10][0])
    assert max(jax.tree.leaves(moved)) < 10 * objective.ratio * 1e-3 * 3  # steps of Adam are of the size of its rate
    assert np.isfinite(metrics["loss"])
