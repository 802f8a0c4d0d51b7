"""What the training loop costs beside a minimal hand-written JAX step.

    .venv/bin/python benchmarks/train_step.py

Trains the networks of configs/digits (U-Net) and configs/digits/dit.gin turn by turn in one process: as the loop does
(batches read and placed, the step with its guard, averages and metrics, all numbers fetched every ten steps; without
what log, preview and checkpoint add now and then), and by the fewest lines of JAX and optax that do the same
arithmetic.  Prints the ratio of the medians, minimal over ours.
"""

from fewstep.cli.cpu import tune

tune()

import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import optax

from fewstep.cli.config.load import experiment, find, load
from fewstep.diffusion import Cond
from fewstep.train.loop import prepare
from fewstep.train.sharding import global_batch, local_rows

STEPS, TURNS = 10, 15


def ours(training):
    """A function that trains STEPS steps as `train.loop.train` does."""
    experiment = training.experiment
    size, rows = experiment.batch_size, local_rows(training.mesh, experiment.batch_size)
    batches = training.batches.stream(0, 10**9, rows)
    state = training.fresh()

    def run():
        nonlocal state
        for _ in range(STEPS):
            state, metrics = training.step(state, global_batch(training.mesh, next(batches), size))
        return {name: float(value) for name, value in metrics.items()}["loss"]

    return run


def minimal(training):
    """A function that trains STEPS steps, written down with nothing but what the arithmetic needs."""
    network, experiment, split = training.model.network, training.experiment, training.data.train
    optimizer, size = experiment.optimizer(experiment.steps), experiment.batch_size
    everything = split[:]
    params = training.fresh().params["net"]
    state = params, jax.tree.map(jnp.copy, params), optimizer.init(params), jnp.int32(0)

    @partial(jax.jit, donate_argnums=0)
    def step(state, x0, label):
        params, average, moments, k = state
        key = jax.random.fold_in(jax.random.key(0), k)
        for_times, for_noise, for_labels = jax.random.split(key, 3)
        t = jax.nn.sigmoid(jax.random.normal(for_times, (size,)))
        eps = jax.random.normal(for_noise, x0.shape)
        at = t[:, None, None, None]
        label = jnp.where(jax.random.bernoulli(for_labels, 0.1, (size,)), training.model.classes, label)

        def loss_of(params):
            out = network(params, (1 - at) * x0 + at * eps, t, None, Cond(label), None)
            return jnp.mean((out - (eps - x0)) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, moments = optimizer.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: 0.999 * a + 0.001 * p, average, params)
        return (params, average, moments, k + 1), loss

    place = 0

    def run():
        nonlocal state, place
        for _ in range(STEPS):
            rows = slice(place, place + size)
            place = (place + size) % (len(split) - size)
            state, loss = step(state, everything.image[rows], everything.label[rows])
        return float(loss)

    return run


def main():
    """Print a line a network."""
    for name in ("flow", "dit"):
        load(find(f"configs/digits/{name}.gin"))
        made = experiment()
        training = prepare(made, made.data())
        spent = {run: [] for run in (ours(training), minimal(training))}
        for run in spent:
            run()
        for _ in range(TURNS):
            for run, times in spent.items():
                begin = time.perf_counter()
                run()
                times.append((time.perf_counter() - begin) / STEPS)
        loop, bare = (1e3 * statistics.median(times) for times in spent.values())
        print(f"{name:6} loop {loop:7.1f} ms a step   minimal {bare:7.1f} ms   ratio {bare / loop:.3f}", flush=True)


if __name__ == "__main__":
    main()
