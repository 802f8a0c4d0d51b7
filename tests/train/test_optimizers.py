"""The rate of every step, what weight decay acts on, and the state of AdamW, which runs have stored."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fewstep.diffusion.networks import MLP, split
from fewstep.train.optimizers import SCHEDULES, adamw, constant_rate, cosine_decay, linear_decay

PARAMS = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "gain": jnp.ones(3)}


def rates(steps, **options):
    """The learning rate of each step, as its state tells."""
    optimizer = adamw(steps, **options)
    state, found = optimizer.init(PARAMS), []
    for _ in range(steps):
        _, state = optimizer.update(PARAMS, state, PARAMS)
        found.append(float(state[-1].hyperparams["learning_rate"]))
    return np.array(found)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 100), (2, 0), (20, 5), (20, 100)])
def test_every_step_moves(schedule, steps, warmup):
    """The first and the last as well."""
    found = rates(steps, lr=0.5, warmup=warmup, schedule=schedule)
    assert (found > 0).all()
    assert (found <= 0.5).all()
    rising = min(warmup, steps // 2)
    np.testing.assert_allclose(found[:rising], 0.5 * np.arange(1, rising + 1) / max(rising, 1), rtol=1e-6)


def test_rates_after_the_warmup_are_those_of_the_schedule():
    done = np.arange(1, 16) / 16
    for schedule, share in (
        (cosine_decay, (1 + np.cos(np.pi * done)) / 2),
        (linear_decay, 1 - done),
        (constant_rate, np.ones(15)),
        (lambda done: linear_decay(done, last=0.2), 1 - 0.8 * done),
        (lambda done: cosine_decay(done, last=0.2), 0.2 + 0.4 * (1 + np.cos(np.pi * done))),
    ):
        np.testing.assert_allclose(rates(20, lr=0.5, warmup=5, schedule=schedule)[5:], 0.5 * share, rtol=1e-5)


def moved(params, **options):
    """The parameters after a step without gradients."""
    optimizer, still = adamw(10, warmup=0, **options), jax.tree.map(jnp.zeros_like, params)
    return optax.apply_updates(params, optimizer.update(still, optimizer.init(params), params)[0])


def test_weight_decay_is_for_kernels():
    kept = moved(PARAMS | {"embedding": jnp.ones((2, 3))}, lr=0.5, weight_decay=0.2, schedule=constant_rate)
    np.testing.assert_allclose(kept["kernel"], 0.9, rtol=1e-6)
    assert (kept["bias"] == 1).all()
    assert (kept["gain"] == 1).all()
    assert (kept["embedding"] == 1).all()


@pytest.mark.slow
def test_in_a_network_it_acts_on_all_kernels():
    shapes = jax.eval_shape(lambda: split(MLP((2,), 3, width=8, depth=1, rngs=nnx.Rngs(0)))[1])
    params = jax.tree.map(jnp.ones_like, shapes)
    for path, a in jax.tree.leaves_with_path(moved(params, weight_decay=0.2)):
        assert bool((a < 1).all()) == (path[-1].key == "kernel"), path


def test_its_state_is_that_of_runs_from_before():
    """Or they could not resume."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 100, 1000)
    before = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.99),
        optax.add_decayed_weights(0.1),
        optax.inject_hyperparams(optax.scale_by_learning_rate)(schedule),
    )
    now, then = (jax.eval_shape(optimizer.init, PARAMS) for optimizer in (adamw(1000, weight_decay=0.1), before))
    assert jax.tree.structure(now) == jax.tree.structure(then)
    assert jax.tree.leaves(now) == jax.tree.leaves(then)
