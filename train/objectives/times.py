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


TIMES = {"uniform_times": uniform, "logit_normal": logit_normal, "log_normal": log_normal}
