"""Guidance as an input of the network: the lever that sets it, and the networks that get it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion import VELOCITY, VP, Cond, Denoiser, Linear
from fewstep.diffusion.denoiser import INSTANT, JUMP
from fewstep.diffusion.levers import autoguidance, cfg, interval
from fewstep.diffusion.levers.guidance import CFG
from fewstep.diffusion.levers.trained_guidance import TrainedGuidance
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D, split
from fewstep.samplers import table_at
from fewstep.samplers.cost import passes
from fewstep.samplers.flow_map import flow_map

IMAGE, POINT = (8, 8, 1), (2,)
NETWORKS = {
    "UNet": (IMAGE, partial(UNet, base=8, mult=(1,), blocks=1, attention=())),
    "UNet2D": (IMAGE, partial(UNet2D, channels=(8,), blocks=1, attention=(), middle_attention=False, groups=4)),
    "DiT": (IMAGE, partial(DiT, width=16, depth=1, heads=2)),
    "DiT of waves": (IMAGE, partial(DiT, width=16, depth=1, heads=2, waves=16)),
    "MLP": (POINT, partial(MLP, width=8, depth=1)),
}


def told(params, x, t, d, cond, key):
    """Shows the guidance that it gets."""
    return jnp.zeros_like(x) + jnp.array([1.0, 10.0, 100.0]) @ cond.guidance[0]


DEN = Denoiser.from_function(
    told, {}, Linear(), VELOCITY, classes=2, guided=4.0, capabilities=frozenset({INSTANT, JUMP})
)
X = np.zeros((3, 2), np.float32)


def seen(den):
    pred = den(X, 0.7)
    return float((pred.eps - pred.x0)[0, 0])


def test_cfg_gives_the_network_its_scale():
    assert seen(cfg(2.0)(DEN)) == pytest.approx(2 + 0 + 100)
    assert seen(interval(0.25, 3.0)(cfg(2.0)(DEN))) == pytest.approx(2 + 10 * 0.2 + 100 * 0.75)
    assert seen(interval(0.25)(cfg(3.0)(DEN))) == pytest.approx(3 + 10 * 0.2 + 100)


def test_an_interval_is_in_the_times_of_the_network():
    """Also for states of another process."""
    assert seen(interval(0.25, 3.0)(cfg(2.0)(DEN.under(VP())))) == pytest.approx(2 + 10 * 0.2 + 100 * 0.75)


def test_it_is_one_pass():
    table = table_at(flow_map, Linear(), 4)
    assert passes(cfg(2.0)(DEN), table) == 4
    assert passes(interval(0.5, 2.0)(cfg(2.0)(DEN)), table) == 4


@pytest.mark.parametrize("scale", [0.0, 0.9, 4.1])
def test_other_scales_take_two_passes(scale):
    """As for networks without the input."""
    assert isinstance(cfg(scale)(DEN), CFG)
    assert isinstance(cfg(4.0)(DEN), TrainedGuidance)


@pytest.mark.parametrize("ends", [(1.1, 3.0), (0.1, 0.9)])
def test_intervals_that_it_was_not_trained_with(ends):
    with pytest.raises(ValueError, match=r"intervals that contain t = 0\.5"):
        interval(*ends)(cfg(2.0)(DEN))


def test_a_worse_model_need_not_have_the_input():
    """Autoguidance inside: the worse model is called without."""

    def plain(params, x, t, d, cond, key):
        assert cond.guidance is None
        return jnp.zeros_like(x)

    bad = Denoiser.from_function(plain, {}, Linear(), VELOCITY, classes=2, capabilities=frozenset({INSTANT, JUMP}))
    assert seen(cfg(2.0)(autoguidance(bad, 2.0)(DEN))) == pytest.approx(2 * 102)


def built(name, **options):
    shape, network = NETWORKS[name]
    return shape, split(network(shape, 2, rngs=nnx.Rngs(0), **options))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "MLP")) for name in NETWORKS])
def test_networks_with_guidance_begin_without_effect(name):
    """Zero at initialization; then it has one, and no guidance is scale 1 at all times."""
    shape, (apply, params) = built(name, guided=True)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    t, guidance = np.float32([0.2, 0.5, 0.9]), np.float32([[2.0, 0.1, 0.8], [1.0, 0.0, 1.0], [3.0, 0.0, 1.0]])
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda a: np.float32(0.3 * rng.standard_normal(a.shape)), params)
    label = np.int32([0, 1, 1])

    def out(params, guidance):
        return np.asarray(apply(params, x, t, None, Cond(label, guidance=guidance)))

    found, without = out(params, guidance), out(params, None)
    np.testing.assert_allclose(found[1], without[1], rtol=1e-4, atol=1e-5)
    assert (abs(found - without).reshape(3, -1).max(1)[[0, 2]] > 1e-3).all()
    params["conditioning"]["guidance"]["layer"]["kernel"] *= 0
    np.testing.assert_array_equal(out(params, guidance), out(params, None))


@pytest.mark.parametrize("name", ["UNet", "DiT of waves"])
def test_networks_without_guidance_refuse_it(name):
    shape, (apply, params) = built(name)
    with pytest.raises(ValueError, match="no guidance as an input"):
        apply(params, np.zeros((1, *shape), np.float32), 0.5, None, Cond(guidance=np.ones((1, 3), np.float32)))


@pytest.mark.slow
def test_only_the_last_blocks_get_the_jump():
    """With the last block and the modulation of the output switched off nothing of it is left, and with all blocks
    it is."""
    shape = (4, 4, 1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    change = {}
    for some in (0, 1):
        net = DiT(shape, width=16, depth=3, heads=2, jump_blocks=some, jumps=True, rngs=nnx.Rngs(0))
        apply, params = split(net)
        params = jax.tree.map(lambda a: np.float32(0.3 * rng.standard_normal(a.shape)), params)
        for part in (params["blocks"][2]["modulation"], params["modulation"]):
            part.update(jax.tree.map(np.zeros_like, dict(part)))
        outputs = [np.asarray(apply(params, x, 0.7, d, Cond())) for d in (0.0, 0.5)]
        change[some] = abs(outputs[0] - outputs[1]).max()
    assert change[1] == 0
    assert change[0] > 1e-3


def test_decoupled_blocks_agree_at_the_instant():
    """At s = t, where there is no jump, the network is the one of which all blocks get it."""
    shape, rng = (4, 4, 1), np.random.default_rng(0)
    nets = [DiT(shape, width=16, depth=3, heads=2, jump_blocks=k, jumps=True, rngs=nnx.Rngs(0)) for k in (0, 1)]
    params = jax.tree.map(lambda a: np.float32(0.3 * rng.standard_normal(a.shape)), split(nets[0])[1])
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    here, there = (np.asarray(split(net)[0](params, x, 0.7, 0.0, Cond())) for net in nets)
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)
    jumps = [np.asarray(split(net)[0](params, x, 0.7, 0.5, Cond())) for net in nets]
    assert abs(jumps[0] - jumps[1]).max() > 1e-3


def test_more_blocks_than_there_are():
    with pytest.raises(ValueError, match="jump_blocks is at most its depth"):
        DiT((4, 4, 1), width=16, depth=2, heads=2, jump_blocks=3, rngs=nnx.Rngs(0))
