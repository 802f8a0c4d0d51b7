"""A second output of the networks, beside a first that does not know of it."""

import jax
import numpy as np
import pytest
from flax import nnx
from small_inputs import CALL

from fewstep.diffusion import EPS, VP
from fewstep.diffusion.denoiser import Cond, Denoiser
from fewstep.diffusion.networks import MLP, DiT, UNet, axes, split
from fewstep.diffusion.variance import SN
from fewstep.errors import UsageError

NETWORKS = {
    "unet": (UNet, (8, 8, 3), {"base": 8, "blocks": 1, "dropout": 0.1}),
    "dit": (DiT, (8, 8, 3), {"width": 16, "depth": 2, "heads": 2, "remat": True}),
    "joint dit": (DiT, (8, 8, 3), {"width": 16, "depth": 1, "heads": 2, "waves": 32, "joint": True}),
    "mlp": (MLP, (5,), {"width": 16, "depth": 2}),
}


@pytest.mark.parametrize(
    ("network", "shape", "options"),
    [
        pytest.param(*network, marks=[pytest.mark.slow] * (name == "unet"), id=name)
        for name, network in NETWORKS.items()
    ],
)
def test_the_first_half_is_the_network_without_it(network, shape, options):
    plain, params = split(network(shape, 3, **options, rngs=nnx.Rngs(0)))
    both, more = split(network(shape, 3, **options, variance=True, rngs=nnx.Rngs(0)))
    assert {**params, "variance": more["variance"]}.keys() == more.keys()
    shared = {name: more[name] for name in params}
    jax.tree.map(np.testing.assert_array_equal, params, shared)  # the same initial values
    more = jax.tree.map(lambda a: a + 0.05, more)
    more["variance"] = jax.tree.map(lambda a: 2 * a, more["variance"])
    x, cond = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32), Cond(np.int32([0, 3]))
    keys = jax.random.split(jax.random.key(0), 2)
    one = CALL(plain, {name: more[name] for name in params}, x, 0.3, None, cond, keys)
    two = CALL(both, more, x, 0.3, None, cond, keys)
    assert two.shape == (*x.shape[:-1], 2 * x.shape[-1])
    np.testing.assert_allclose(two[..., : shape[-1]], one, rtol=1e-5, atol=1e-6)
    assert np.any(two[..., shape[-1] :] != one)


@pytest.mark.parametrize(("network", "shape", "options"), NETWORKS.values(), ids=NETWORKS)
def test_it_begins_at_zero_and_its_axes_are_named(network, shape, options):
    both, params = split(network(shape, 0, **options, variance=True, rngs=nnx.Rngs(0)))
    x = np.ones((2, *shape), np.float32)
    assert not np.any(CALL(both, params, x, 0.3, None, Cond())[..., shape[-1] :])
    named = axes(nnx.eval_shape(lambda: network(shape, 0, **options, variance=True, rngs=nnx.Rngs(0))))
    assert any("embed" in names for names in jax.tree.leaves(named["variance"]))


def test_a_network_without_a_second_output_is_refused():
    den = Denoiser.from_function(lambda params, x, *others: x, {}, VP(), EPS, variance=SN())
    with pytest.raises(UsageError, match=r"returned \(3, 2\) for x \(3, 2\): .* \(3, 4\).*second output"):
        den(np.ones((3, 2), np.float32), 0.5)
