"""Own networks: modules, classes, functions with parameters; and those that cannot be trained."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from refused import message

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import abstract, split
from fewstep.diffusion.networks.own import constructor
from fewstep.errors import UsageError

X = np.ones((3, 2), np.float32)


class Net(nnx.Module):
    """A dense layer, and whatever else is given."""

    def __init__(self, rngs, make=None, width=2):
        self.dense = nnx.Linear(2, width, rngs=rngs)
        self.more = make(rngs) if make else None

    def __call__(self, x, t):
        return self.dense(x)


class Jumping(Net):
    def __call__(self, x, t, d):
        return self.dense(x)


class Labelled(Net):
    def __call__(self, x, label):
        return 0 * x + label[:, None]


class Dropping(Net):
    """Dropout as docs/python.md describes it."""

    def __init__(self, rngs):
        self.drop = nnx.Dropout(0.5)
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x, t, key):
        return self.scale * self.drop(x, deterministic=key is None, rngs=None if key is None else key[0])


class Conditioned(Net):
    def __call__(self, params, x, t):
        return self.dense(x)


class BySigma(Net):
    def __call__(self, x, sigma):
        return self.dense(x)


def build(network, params=None, classes=0, **options):
    return constructor(network, params)((2,), classes, rngs=nnx.Rngs(0), **options)


def ask(network, params=None, classes=0, key=None, **options):
    apply, weights = split(build(network, params, classes, **options))
    return apply(weights, X, 0.5, 0.0, Cond(), key)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda rngs: nnx.BatchNorm(2, rngs=rngs), r"inner.more.mean \(BatchNorm\)"),
        (lambda rngs: nnx.Dropout(0.5, rngs=rngs), r"inner.more.rngs.count \(Dropout\)"),
        (lambda rngs: nnx.Rngs(0), r"\(Net\)"),
        (lambda rngs: jnp.ones(3), r"inner.more \(Net\)"),
        (lambda rngs: nnx.Variable(jnp.ones(3)), r"inner.more \(Net\)"),
    ],
)
def test_other_state_than_parameters_is_named(make, part):
    network = partial(Net, make=make)
    with pytest.raises(UsageError, match=f"the network holds .*{part}.*replace BatchNorm by GroupNorm.*argument key"):
        abstract(lambda: build(network))
    assert message(lambda: abstract(lambda: build(network)), UsageError)


def test_dropout_by_key():
    np.testing.assert_array_equal(ask(Dropping), X)
    dropped = ask(Dropping, key=jax.random.split(jax.random.key(0), 3))
    assert {*np.unique(dropped)} == {0.0, 2.0}


def test_without_labels_the_null_class_is_given():
    assert (ask(Labelled, classes=3) == 3).all()
    assert (ask(lambda params, x, label: params * x + label[:, None], jnp.zeros(()), classes=3) == 3).all()


@pytest.mark.parametrize(
    "params", [{"w": np.eye(2)}, [np.eye(2)], (np.eye(2), {"b": 1.0}), np.eye(2, dtype=np.float32)]
)
def test_a_function_gets_the_pytree_that_it_was_given(params):
    seen = []

    def function(params, x):
        seen.append(params)
        return x

    ask(function, params)
    assert jax.tree.structure(seen[0]) == jax.tree.structure(params)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(seen[0]))


@pytest.mark.parametrize("network", [Jumping, partial(Jumping, width=2), Jumping(nnx.Rngs(0))])
def test_jumps_are_for_networks_with_the_argument_d(network):
    assert ask(network, jumps=True).shape == X.shape
    assert ask(lambda params, x, d: params * x, jnp.ones(()), jumps=True).shape == X.shape


@pytest.mark.parametrize(
    ("network", "params", "options", "part"),
    [
        (Net, None, {"jumps": True}, "the network must have an argument d"),
        (Net(nnx.Rngs(0)), None, {"jumps": True}, "the network must have an argument d"),
        (lambda params, x, t: x, np.eye(2), {"jumps": True}, "the network must have an argument d"),
        (BySigma, None, {}, "no argument sigma.*take the time t"),
        (lambda params, x, sigma: x, np.eye(2), {}, "no argument sigma"),
        (Conditioned, None, {}, "a module holds its own parameters"),
        (lambda params, x, t: x, {}, {}, "nothing to train"),
        (lambda params, x, t: x, {"w": np.eye(2), "n": 3}, {}, r"params\['n'\] is not an array of floats.*got int"),
        (lambda params, x, t: x, {"w": np.arange(3)}, {}, r"params\['w'\] is not .* got int64"),
        (lambda x, t: x, np.eye(2), {}, r"takes its parameters as an argument: f\(params, x, t\)"),
        (lambda x, t: x, None, {}, r"parameter 'x'.*f\(params, x, t\) needs params"),
        (nnx.Linear, None, {}, "parameter 'in_features'.*functools.partial"),
        (nnx.Linear(2, 2, rngs=nnx.Rngs(0)), None, {}, "an argument 'inputs'"),
        (lambda rngs: 3, None, {}, "returns no NNX module"),
        ("MLP", None, {}, "got 'MLP'"),
    ],
)
def test_what_cannot_be_trained_is_refused(network, params, options, part):
    with pytest.raises(UsageError, match=part):
        build(network, params, **options)
    assert message(lambda: build(network, params, **options), UsageError)
