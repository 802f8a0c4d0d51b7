"""At which times to train: (process, key, n) -> (n,) times (algorithms.md A10)."""

import jax
import jax.numpy as jnp

MARGIN = 1e-5  # a network is never asked at t = 0, and at t = 1 some targets are lost


def _within(process, t):
    first, last = process.ends
    return jnp.clip(t, max(last, MARGIN), first - MARGIN)


def uniform(process, key, n):
    """Uniform and stratified: one draw, and its n equally spaced translates (Kingma et al. 2021, arXiv:2107.00630)."""
    first, last = process.ends
    u = (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0
    return _within(process, last + (first - last) * u)


def logit_normal(process, key, n, mean=0.0, std=1.0):
    """sigmoid(mean + std z) (Esser et al. 2024, arXiv:2403.03206)."""
    return _within(process, jax.nn.sigmoid(mean + std * jax.random.normal(key, (n,))))


def log_normal(process, key, n, mean=-1.2, std=1.2):
    """The t at which log(sigma/alpha) = mean + std z (Karras et al. 2022, arXiv:2206.00364)."""
    return _within(process, process.time(-(mean + std * jax.random.normal(key, (n,)))))


def u_shaped(process, key, n, a=4.0):
    """Most at both ends, of density a (e^(a t) + e^(a (1 - t))) / (2 (e^a - 1)) (Lee et al. 2024, arXiv:2405.20320)."""
    for_size, for_end = jax.random.split(key)
    t = jnp.log1p(jax.random.uniform(for_size, (n,)) * jnp.expm1(a)) / a
    return _within(process, jnp.where(jax.random.bernoulli(for_end, shape=(n,)), t, 1 - t))


def at_steps(process, key, n, steps=1):
    """Where a sampler of so many equal steps asks, once or more each: for distillation into these steps."""
    first, last = process.ends
    place = (jax.random.randint(key, (), 0, steps) + jnp.arange(n)) % steps
    return _within(process, first - (first - last) * place / steps)


TIMES = {
    "u_shaped": u_shaped,
    "at_steps": at_steps,
    "uniform_times": uniform,
    "logit_normal": logit_normal,
    "log_normal": log_normal,
}
