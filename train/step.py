"""The jitted training step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fewstep.diffusion.denoiser import Model
from fewstep.train import ema
from fewstep.train.objectives.objective import Objective, checked
from fewstep.train.optimizers.chain import Clipped
from fewstep.train.sharding import batch_sharding, gathered, replicated
from fewstep.train.state import State

PATIENCE = 10  # consecutive non-finite steps that end a run


def make_step(
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    placed: Any,
    seed: int,
    accumulate: int = 1,
) -> Callable:
    """A jitted (state, batch) -> (state, metrics); the state is sharded as `placed` (`state_shardings`) and donated.

    Gradients are accumulated over `accumulate` equal parts of the batch, with the result of the whole batch.  The
    `further` updates of an objective's copies come first.  A step with a loss or gradient that is not finite updates
    only the counters; after PATIENCE such steps in a row the counter is not reset, so that the host sees it.
    """

    in_use = jax.tree.map(gathered, placed)

    @partial(
        jax.jit,
        in_shardings=(placed, batch_sharding(mesh)),
        out_shardings=(placed, replicated(mesh)),
        donate_argnums=0,
    )
    def step(state: State, batch):
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        # Averages and teachers as well, for objectives that use them; XLA does not gather what is unused.
        averages, frozen = jax.lax.with_sharding_constraint((state.ema, state.frozen), (in_use.ema, in_use.frozen))
        gathered_state = state._replace(ema=averages, frozen=frozen)

        def gradient(function, params, key):
            """((loss, (metrics, memory)), gradients, their norm, whether all is finite)."""
            whole = jax.lax.with_sharding_constraint(params, in_use.params)

            def loss_of(params, examples):
                return checked(objective, function(model, params, gathered_state, examples), state.memory)

            def of_part(examples):
                value, grads = jax.value_and_grad(loss_of, has_aux=True)(whole, examples)
                return value, jax.lax.with_sharding_constraint(grads, placed.params)

            value, grads = _mean(of_part, objective.draw(model, batch, key), accumulate, mesh)
            norm = optax.tree.norm(grads)
            return value, grads, norm, jnp.isfinite(value[0]) & jnp.isfinite(norm)

        def moved(grads, params, opt_state):
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        params, opt_state, good = state.params, state.opt_state, jnp.bool_(True)
        for further in jax.random.split(jax.random.fold_in(key, 6), objective.further) if objective.further else ():
            _, grads, _, finite = gradient(objective.loss_of_copies, params, further)
            params, opt_state = moved(grads, params, opt_state)
            good &= finite
        (loss, (metrics, memory)), grads, norm, finite = gradient(objective, params, key)
        good &= finite

        def advance(params, averages, opt_state, _):
            params, opt_state = moved(grads, params, opt_state)
            return params, ema.update(averages, params, state.step), opt_state, memory

        # Not jnp.where per array: XLA on CPU fuses it with the update, which makes a step of configs/digits/dit.gin 1.6
        # times as long.
        old = (state.params, state.ema, state.opt_state, state.memory)
        now = (params, state.ema, opt_state, state.memory)
        params, averages, opt_state, memory = jax.lax.cond(good, advance, lambda *_: old, *now)
        nonfinite = jnp.where(good & (state.nonfinite_steps < PATIENCE), 0, state.nonfinite_steps + 1)
        state = State(state.step + 1, nonfinite, params, averages, state.frozen, opt_state, memory)
        removed = {"clip": optimizer.removed(norm)} if isinstance(optimizer, Clipped) else {}
        return state, {"loss": loss, "grad_norm": norm, **removed, **_rate(opt_state), **metrics}

    return step


def _rate(opt_state):
    """{"lr": the learning rate}, if the state of the optimizer has one (`optax.inject_hyperparams`)."""
    found = (value for _, value in optax.tree.get_all_with_path(opt_state, "learning_rate"))
    rates = [rate for rate in found if isinstance(rate, jax.Array)]
    return {"lr": rates[0]} if rates else {}


def _mean(function, examples, parts, mesh):
    """The mean of function(part) over equal parts of the examples, computed sequentially."""
    if parts == 1:
        return function(examples)

    def part(a):
        # Row i belongs to part i mod parts, so that every part has rows on every device.
        rows = a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1)
        spec = jax.sharding.PartitionSpec(None, *batch_sharding(mesh).spec)
        return jax.lax.with_sharding_constraint(rows, jax.sharding.NamedSharding(mesh, spec))

    examples = jax.tree.map(part, examples)
    zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jax.tree.map(lambda a: a[0], examples)))
    total, _ = jax.lax.scan(lambda total, e: (jax.tree.map(jnp.add, total, function(e)), None), zero, examples)
    return jax.tree.map(lambda a: a / parts, total)
