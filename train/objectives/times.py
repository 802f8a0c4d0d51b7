"""Distributions of training times: (process, key, n) -> (n,) times (algorithms.md A10)."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Positive, Range, Share, checked

Mean = Annotated[float, Range(-20, 20)]
Std = Annotated[float, Range(above=0, most=20)]
MARGIN = 1e-5  # samplers never evaluate t = 0, and at t = 1 some targets are degenerate


def _within(process, t):
    first, last = process.ends
    return jnp.clip(t, max(last, MARGIN), first - MARGIN)


def uniform(process: Process, key: Array, n: int) -> Array:
    """Stratified uniform: n equally spaced times with one random offset (Kingma et al. 2021, arXiv:2107.00630)."""
    first, last = process.ends
    u = (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0
    return _within(process, last + (first - last) * u)


@checked
def logit_normal(process: Process, key: Array, n: int, mean: Mean = 0.0, std: Std = 1.0) -> Array:
    """sigmoid(mean + std z) (Esser et al. 2024, arXiv:2403.03206)."""
    return _within(process, jax.nn.sigmoid(mean + std * jax.random.normal(key, (n,))))


@checked
def log_normal(process: Process, key: Array, n: int, mean: Mean = -1.2, std: Std = 1.2) -> Array:
    """The t at which log(sigma/alpha) = mean + std z (Karras et al. 2022, arXiv:2206.00364)."""
    return _within(process, process.time(-(mean + std * jax.random.normal(key, (n,)))))


@checked
def u_shaped(process: Process, key: Array, n: int, a: Annotated[float, Range(above=0, most=80)] = 4.0) -> Array:
    """U-shaped density a (e^(a t) + e^(a (1 - t))) / (2 (e^a - 1)), highest at both ends (Lee et al. 2024,
    arXiv:2405.20320)."""
    for_size, for_end = jax.random.split(key)
    t = jnp.log1p(jax.random.uniform(for_size, (n,)) * jnp.expm1(a)) / a
    return _within(process, jnp.where(jax.random.bernoulli(for_end, shape=(n,)), t, 1 - t))


@checked
def at_steps(process: Process, key: Array, n: int, steps: Annotated[int, Range(1, 10_000)] = 1) -> Array:
    """The times of a sampler with `steps` equal steps, equally often, for distillation into these steps."""
    first, last = process.ends
    place = (jax.random.randint(key, (), 0, steps) + jnp.arange(n)) % steps
    return _within(process, first - (first - last) * place / steps)


@checked
def karras_times(
    process: Process,
    key: Array,
    n: int,
    first: Share = 0.0,
    last: Share = 0.8,
    low: Positive = 0.002,
    high: Positive = 80.0,
    rho: Positive = 7.0,
) -> Array:
    """Stratified uniform between `first` and `last` of the grid of Karras et al. (2022, arXiv:2206.00364 eq. 5), which
    goes from `low` to `high` in sigma / alpha."""
    if not (low < high and first < last):
        raise UsageError(f"karras_times needs low < high and first < last: got {low}, {high}, {first} and {last}")
    u = first + (last - first) * ((jax.random.uniform(key) + jnp.arange(n) / n) % 1.0)
    start, end = low ** (1 / rho), high ** (1 / rho)
    return _within(process, process.time(-rho * jnp.log(start + u * (end - start))))


TIMES = {
    "karras_times": karras_times,
    "u_shaped": u_shaped,
    "at_steps": at_steps,
    "uniform_times": uniform,
    "logit_normal": logit_normal,
    "log_normal": log_normal,
}
