"""One training step, compiled."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from fewstep.train import ema
from fewstep.train.sharding import batched, collected, replicated
from fewstep.train.state import State

PATIENCE = 10  # bad steps in a row that end a run


def make_step(model, objective, optimizer, mesh, placed, seed, accumulate=1):
    """A jitted (state, batch) -> (state, metrics); the state lies as `placed` (`sharding.states`) and is donated.

    The batch is worked off in `accumulate` equal parts, with the result of one.  A step whose loss or gradient is not
    finite changes nothing but the counters; PATIENCE of them in a row stay counted until somebody looks.
    """

    in_use = jax.tree.map(collected, placed)

    @partial(
        jax.jit,
        in_shardings=(placed, batched(mesh)),
        out_shardings=(placed, replicated(mesh)),
        donate_argnums=0,
    )
    def step(state: State, batch):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        examples = objective.draw(model, batch, key)

        # Averages and teachers too, where the objective asks: what it does not use XLA leaves where it is.
        whole, averages, frozen = jax.lax.with_sharding_constraint(
            (state.params, state.ema, state.frozen), (in_use.params, in_use.ema, in_use.frozen)
        )
        seen = state._replace(ema=averages, frozen=frozen)

        def loss_of(params, examples):
            return objective(model, params, seen, examples)

        def gradient(examples):
            value, grads = jax.value_and_grad(loss_of, has_aux=True)(whole, examples)
            return value, jax.lax.with_sharding_constraint(grads, placed.params)

        (loss, metrics), grads = _mean(gradient, examples, accumulate, mesh)
        norm = optax.tree.norm(grads)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)

        def advance(params, averages, opt_state):
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
            return params, ema.update(averages, params, state.step), opt_state

        # Not a where for every array: XLA on CPU fuses those with the update, 1.6 times the step of configs/digits/dit.
        old = (state.params, state.ema, state.opt_state)
        params, averages, opt_state = jax.lax.cond(good, advance, lambda *old: old, *old)
        nonfinite = jnp.where(good & (state.nonfinite_steps < PATIENCE), 0, state.nonfinite_steps + 1)
        state = State(state.step + 1, nonfinite, params, averages, state.frozen, opt_state)
        return state, {"loss": loss, "grad_norm": norm, **_rate(opt_state), **metrics}

    return step


def _rate(opt_state):
    """{"lr": the learning rate}, if the optimiser tells it as optax.inject_hyperparams does."""
    found = (value for _, value in optax.tree.get_all_with_path(opt_state, "learning_rate"))
    rates = [rate for rate in found if isinstance(rate, jax.Array)]
    return {"lr": rates[0]} if rates else {}


def _mean(function, examples, parts, mesh):
    """The mean of the function over equal parts of the examples, one after the other."""
    if parts == 1:
        return function(examples)

    def part(a):
        # Every part has rows of every device: row i belongs to part i mod parts.
        rows = a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1)
        spec = jax.sharding.PartitionSpec(None, *batched(mesh).spec)
        return jax.lax.with_sharding_constraint(rows, jax.sharding.NamedSharding(mesh, spec))

    examples = jax.tree.map(part, examples)
    zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jax.tree.map(lambda a: a[0], examples)))
    total, _ = jax.lax.scan(lambda total, e: (jax.tree.map(jnp.add, total, function(e)), None), zero, examples)
    return jax.tree.map(lambda a: a / parts, total)
