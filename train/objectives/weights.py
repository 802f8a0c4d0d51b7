"""Loss weights by time: (process, prediction, t) -> weight of the squared error of the network's output
(algorithms.md A9).

At fixed x an error p of the output is an error (det' / det) p of the target of another prediction, with det' its det,
and (alpha / det) p of eps.  So a weight w of |eps error|^2 becomes w (alpha / det)^2 for the output.
"""

import jax.numpy as jnp
from jax import Array

from fewstep.diffusion.prediction import EPS, VELOCITY, Prediction
from fewstep.diffusion.process import Process
from fewstep.ranges import Positive, Share, checked


def native(process: Process, prediction: Prediction, t: Array) -> Array:
    """1: the unweighted error of the network's output (EDM's weighting for EDM, DDPM's for eps)."""
    return jnp.ones_like(t)


def noise(process: Process, prediction: Prediction, t: Array) -> Array:
    """Weight 1 for the squared error of eps, DDPM's simple loss, for any prediction (Ho et al. 2020)."""
    return error_in(process, prediction, t, EPS, 0.0)


@checked
def error_in(
    process: Process, prediction: Prediction, t: Array, target: Prediction = VELOCITY, floor: Share = 0.05
) -> Array:
    """Weight 1 for the squared error of the target of another prediction, whatever the network predicts.

    With an x0-prediction on the linear path and the velocity, this is the loss of JiT (Li & He 2025,
    arXiv:2511.13720): the error of x0 over t, which is held at `floor` where it is smaller.  In general `floor` is the
    least |det| by which errors are divided.
    """
    return (target.det(process, t) / jnp.maximum(abs(prediction.det(process, t)), floor)) ** 2


def elbo(process: Process, prediction: Prediction, t: Array) -> Array:
    """-dlam/dt for the squared error of eps: the likelihood bound under uniform times (Kingma et al. 2021)."""
    return -process.dlam(t) * noise(process, prediction, t)


@checked
def min_snr(process: Process, prediction: Prediction, t: Array, gamma: Positive = 5.0) -> Array:
    """min(SNR, gamma) for the squared error of x0 (Hang et al. 2023, arXiv:2303.09556)."""
    return jnp.minimum(1.0, gamma * jnp.exp(-2 * process.lam(t))) * noise(process, prediction, t)


WEIGHTS = {"native": native, "noise": noise, "error_in": error_in, "elbo": elbo, "min_snr": min_snr}
