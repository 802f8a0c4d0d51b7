"""One training step, compiled."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from train import ema
from train.sharding import batched, replicated
from train.state import State

PATIENCE = 10  # bad steps in a row that end a run


def make_step(model, objective, optimizer, mesh, seed):
    """A jitted (state, batch) -> (state, metrics); the state is donated.

    A step whose loss or gradient is not finite changes nothing but the counters; PATIENCE of them in a row stay counted
    until somebody looks.
    """

    @partial(
        jax.jit,
        in_shardings=(replicated(mesh), batched(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )
    def step(state: State, batch):
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def loss_of(params):
            return objective(model, params, state, batch, key)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        averages = ema.update(state.ema, params, state.step)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        old = (state.params, state.ema, state.opt_state)
        params, averages, opt_state = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), (params, averages, opt_state), old
        )
        bad = jnp.where(good & (state.bad < PATIENCE), 0, state.bad + 1)
        state = State(state.step + 1, bad, params, averages, state.frozen, opt_state)
        return state, {"loss": loss, "grad_norm": norm, **metrics}

    return step
