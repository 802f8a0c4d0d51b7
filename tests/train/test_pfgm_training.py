"""PFGM++ trained on a few points: the network learns the denoiser of its own kernel, not that of Gaussian noise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fewstep.diffusion import PFGM, Linear, oracles
from fewstep.diffusion.networks import MLP
from fewstep.train.data import Arrays, Dataset, Split
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import Denoising
from fewstep.train.objectives.times import uniform
from fewstep.train.optimizers import adamw

POINTS = np.float32([[-0.7, 0.5], [0.6, 0.6], [0.1, -0.6]])
PROCESS, STEPS = PFGM(Linear(), 2), 500


@pytest.mark.slow
def test_the_trained_denoiser_is_that_of_the_kernel():
    data = Dataset("points", Split(Arrays(np.tile(POINTS, (200, 1)))), Split(Arrays(POINTS)), 0)
    options = {"batch_size": 256, "ema": (0.99,), "steps": STEPS, "process": PROCESS}
    network, objective = partial(MLP, width=32, depth=2, fastest=4.0), Denoising(uniform)
    run = prepare(Experiment(lambda: data, network, objective, partial(adamw, lr=5e-3), **options), data)
    state = run.fresh()
    for k in range(STEPS):
        state, _ = run.step(state, run.batches.batch(k))
    den = run.model.denoiser(state.ema["0.99"]["net"])
    t, x0 = 0.5, jnp.asarray(np.tile(POINTS, (500, 1)))
    x = (1 - t) * x0 + t * PROCESS.noise(jax.random.key(5), x0.shape)
    got = den(x, t).x0
    own, gaussian = (jnp.mean((got - oracles.dataset(at, POINTS)(x, t).x0) ** 2) for at in (PROCESS, Linear()))
    print(own, gaussian)
    assert own < 0.01
    assert gaussian > 3 * own
