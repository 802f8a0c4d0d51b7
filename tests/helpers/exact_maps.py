"""Networks that represent the exact flow map of Gaussian data, and the gradients that objectives have there."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.prediction import VELOCITY
from fewstep.train.data.split import Batch
from fewstep.train.state import State

MEAN, STD = 0.2, np.array([0.3, 0.8], np.float32)
GAUSSIAN = oracles.gaussian(Linear(), MEAN, STD)


@dataclass(frozen=True)
class Exact:
    """The mean velocity of Gaussian data, plus a little of smooth functions of what the network sees."""

    def __call__(self, params, x, t, d, cond, key=None):
        d = jnp.zeros_like(t) if d is None else d
        pred = GAUSSIAN(x, t, t - d)
        told = jnp.stack([jnp.ones_like(x), x, jnp.broadcast_to(t[:, None], x.shape), jnp.sin(3 * x) * d[:, None]])
        return pred.eps - pred.x0 + jnp.tensordot(params["a"], told, 1)


class Either(Exact):
    """The jump to t = 0, or the velocity, as the parameters say."""

    def __call__(self, params, x, t, d, cond, key=None):
        return super().__call__(params, x, t, params["whole"] * t, cond)


class ToTheData(Exact):
    """The jump to t = 0, whatever is asked."""

    def __call__(self, params, x, t, d, cond, key=None):
        return super().__call__(params, x, t, t, cond)


class WithVelocity(Exact):
    """With a second output: what the velocity is beyond the mean velocity, without parameters."""

    def __call__(self, params, x, t, d, cond, key=None):
        jump, instant = GAUSSIAN(x, t, t - d), GAUSSIAN(x, t)
        second = instant.eps - instant.x0 - (jump.eps - jump.x0)
        return jnp.concatenate([super().__call__(params, x, t, d, cond), second], axis=-1)


def model(*capabilities):
    return Model(Exact(), Linear(), VELOCITY, capabilities=frozenset(capabilities))


PARAMS = {"net": {"a": jnp.zeros(4)}, "weight": {"waves": jnp.zeros(16)}}
PERTURBED = {"a": jnp.array([0.1, 0.2, -0.15, 0.2])}  # parameters of a network that is off the exact map everywhere
STATE = State(jnp.int32(0), jnp.int32(0), PARAMS, {"0.9": PARAMS}, {}, None)
TAUGHT = STATE._replace(frozen={"teacher": PARAMS})  # by the exact map


def batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(np.float32(MEAN + STD * rng.standard_normal((n, 2))), None)


def gradients(objective, asked, n=4000, state=STATE, at=PARAMS["net"], group=1):
    """Of every example alone, or of every `group` of those that are n / group apart, (n / group, 4), at parameters of
    the network."""
    examples = objective.draw(asked, batch(n), jax.random.key(0))
    examples = jax.tree.map(lambda a: a.reshape(group, n // group, *a.shape[1:]).swapaxes(0, 1), examples)

    def one(some):
        return jax.grad(lambda net: objective(asked, PARAMS | {"net": net}, state, some)[0])(at)["a"]

    return np.asarray(jax.jit(jax.vmap(one))(examples))


def expected(objective, asked, n=2000, state=STATE, at=PARAMS["net"]):
    """The mean gradient, (4,), without random errors, of an objective whose gradient is affine in x0 and eps at fixed
    x_t: of the conditional means of x0 and eps in their place."""
    examples = objective.draw(asked, batch(n), jax.random.key(0))
    pred = GAUSSIAN(x_of(examples), examples.t)
    examples = examples._replace(x0=pred.x0, eps=pred.eps)

    def loss(net):
        return objective(asked, PARAMS | {"net": net}, state, examples)[0]

    return np.asarray(jax.jit(jax.grad(loss))(at)["a"])


@partial(jax.jit, static_argnums=(0, 1))
def evaluated(objective, asked, params, state, examples):
    """The objective, compiled: its hundred operations one by one would be as many programs."""
    return objective(asked, params, state, examples)


def far(found):
    """By how many standard errors the mean gradient differs from 0."""
    return abs(found.mean(0)) / np.maximum(found.std(0) / np.sqrt(len(found)), 1e-30)


def x_of(examples):
    t = examples.t[:, None]
    return (1 - t) * examples.x0 + t * examples.eps
