"""How much each time counts: (process, prediction, t) -> weight of the network's own squared error (algorithms.md A9).

At fixed x an error p of the output is an error (alpha / det) p of eps, so a weight w of |eps error|^2 becomes
w (alpha / det)^2 for the output.
"""

import jax.numpy as jnp


def native(process, prediction, t):
    """1: the plain mean square of the network's own target (EDM's weighting for EDM, DDPM's for eps)."""
    return jnp.ones_like(t)


def noise(process, prediction, t):
    """The mean square of eps, DDPM's simple loss, whatever the network predicts (Ho et al. 2020)."""
    return (process.alpha(t) / prediction.det(process, t)) ** 2


def elbo(process, prediction, t):
    """-dlam/dt times the square of eps: the likelihood bound under uniform times (Kingma et al. 2021)."""
    return -process.dlam(t) * noise(process, prediction, t)


def min_snr(process, prediction, t, gamma=5.0):
    """min(SNR, gamma) times the square of x0 (Hang et al. 2023, arXiv:2303.09556)."""
    return jnp.minimum(1.0, gamma * jnp.exp(-2 * process.lam(t))) * noise(process, prediction, t)


WEIGHTS = {"native": native, "noise": noise, "elbo": elbo, "min_snr": min_snr}
