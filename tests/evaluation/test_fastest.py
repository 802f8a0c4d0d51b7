"""The batch that a denoiser is fastest with."""

import jax
import numpy as np
import pytest

from fewstep.diffusion import Linear, oracles
from fewstep.evaluation import fastest
from fewstep.samplers import SAMPLERS, draw_many, table_at

DEN = oracles.gaussian(Linear(), 0.2, 0.5)


def measured(monkeypatch, seconds, most=4096, sharding=None):
    """The rates where a prediction of `size` images takes seconds(size)."""
    monkeypatch.setattr(fastest, "_seconds", lambda den, shape, sharding: seconds(shape[0]))
    return fastest.rates(DEN, (2,), most, sharding)


def test_larger_batches_are_tried_until_two_are_slower(monkeypatch):
    found = measured(monkeypatch, lambda size: size if size <= 16 else 1.2 * size)
    assert list(found) == [1, 2, 4]  # the first is as fast as the others
    found = measured(monkeypatch, lambda size: 1 + size if size <= 16 else 2 * size)
    assert list(found) == [1, 2, 4, 8, 16, 32, 64]
    assert max(found, key=found.get) == 16
    assert list(measured(monkeypatch, lambda size: 1 + size, most=100)) == [1, 2, 4, 8, 16, 32, 64]


def full(size):
    if size > 8:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    return 1.0


def test_what_does_not_fit_into_memory_ends_the_search(monkeypatch):
    assert list(measured(monkeypatch, full)) == [1, 2, 4, 8]
    with pytest.raises(jax.errors.JaxRuntimeError, match="Out of memory"):  # not one image fits
        measured(monkeypatch, lambda size: full(size + 8))


def test_a_real_one():
    found = fastest.rates(DEN, (2,), 4)
    assert set(found) <= {1, 2, 4}
    assert all(np.isfinite(rate) and rate > 0 for rate in found.values())


@pytest.mark.parametrize("name", ["dpmpp_2m", "ddpm"])
def test_images_do_not_depend_on_the_batch(name):
    """Up to rounding: the noise is that of each seed, whatever the batch."""
    table = table_at(SAMPLERS[name], DEN.process, 5)
    whole, parts = (draw_many(DEN, table, range(12), (2,), batch=batch) for batch in (12, 5))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_array_equal(draw_many(DEN, table, range(12), (2,), batch=5), parts)
