"""The batch that a denoiser is fastest with."""

import jax
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.networks import UNet, split
from fewstep.diffusion.prediction import VELOCITY
from fewstep.evaluation import fastest
from fewstep.samplers import SAMPLERS, draw_many, table_at
from fewstep.train.sharding import batch_sharding, make_mesh

DEN = oracles.gaussian(Linear(), 0.2, 0.5)


def measured(monkeypatch, seconds, most=4096, sharding=None):
    """(chosen, sizes tried) where a prediction of `size` images takes seconds(size)."""
    monkeypatch.setattr(fastest, "_seconds", lambda den, shape, sharding: seconds(shape[0]))
    chosen, found = fastest.fastest(DEN, (2,), most, sharding)
    assert found == {size: size / seconds(size) for size in found}
    return chosen, [*found]


def test_larger_batches_are_tried_until_two_are_no_faster(monkeypatch):
    assert measured(monkeypatch, lambda size: 0.01 * size) == (1, [1, 2, 4])
    assert measured(monkeypatch, lambda size: 1e-4 * size**0.98) == (1, [1, 2, 4])  # faster by 1.4 %
    falling = measured(monkeypatch, lambda size: 0.001 * (1 + size if size <= 16 else 2 * size))
    assert falling == (16, [1, 2, 4, 8, 16, 32, 64])
    assert measured(monkeypatch, lambda size: 1e-3, most=100) == (64, [1, 2, 4, 8, 16, 32, 64])


def test_a_slow_prediction_is_the_last(monkeypatch):
    assert measured(monkeypatch, lambda size: 2.0 + 0.5 * size) == (4, [1, 2, 4])


def test_a_batch_is_divided_over_the_devices(monkeypatch):
    sharding = batch_sharding(make_mesh((-1, 1, 1)))
    least = sharding.num_devices
    assert measured(monkeypatch, lambda size: 1e-3, most=4 * least, sharding=sharding)[1] == [
        least,
        2 * least,
        4 * least,
    ]


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), MemoryError()])
def test_half_of_what_fits_into_memory_is_chosen(monkeypatch, error):
    def seconds(size):
        if size > most:
            raise error
        return 1e-3

    most = 8
    assert measured(monkeypatch, seconds) == (4, [1, 2, 4, 8])
    most = 1
    assert measured(monkeypatch, seconds) == (1, [1])
    most = 0  # not one image fits
    with pytest.raises(type(error)):
        measured(monkeypatch, seconds)


def test_a_real_one():
    chosen, found = fastest.fastest(DEN, (2,), 4)
    assert chosen in found
    assert set(found) <= {1, 2, 4}
    assert all(np.isfinite(rate) and rate > 0 for rate in found.values())


@pytest.mark.parametrize("name", [pytest.param("dpmpp_2m", marks=pytest.mark.slow), "ddpm"])
def test_images_do_not_depend_on_the_batch(name):
    """Up to rounding: the noise is that of each seed, whatever the batch."""
    network, params = split(UNet((8, 8, 1), base=8, blocks=1, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda a: a + 0.05 * np.random.default_rng(0).standard_normal(a.shape, np.float32), params)
    den = Model(network, Linear(), VELOCITY).denoiser(params)
    table = table_at(SAMPLERS[name], den.process, 5)
    whole, parts = (draw_many(den, table, range(12), (8, 8, 1), batch=batch) for batch in (12, 5))
    assert np.std(whole) > 0.1
    np.testing.assert_allclose(parts, whole, atol=1e-4)
