"""Pairs of noise and image: regenerated noise, shards that are whole, and training on them."""

import jax
import numpy as np
import pytest

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Model
from fewstep.diffusion.prediction import VELOCITY
from fewstep.samplers import draw, euler, heun, tabulate, uniform
from fewstep.samplers.start import unit_noise
from fewstep.train.data import Batches
from fewstep.train.data.pairs import Paired
from fewstep.train.data.split import Batch, Split
from fewstep.train.objectives import ReFlow
from fewstep.train.objectives.times import at_steps, u_shaped

MEAN, STD = 0.2, np.array([0.3, 0.8], np.float32)


def test_the_noise_of_a_pair_is_what_the_draw_began_with():
    """Followed up again along the exact flow, an image is the noise of its seed."""
    den = oracles.gaussian(Linear(), MEAN, STD)
    table = tabulate(heun(Linear(), uniform(Linear(), 200)))
    seeds = np.arange(50, dtype=np.uint32)
    images = np.asarray(draw(den, table, seeds, (2,)))
    noise = np.asarray(unit_noise(seeds, (2,)))
    np.testing.assert_allclose(images, MEAN + STD * noise, atol=2e-3)


def source(n=64, shape=(4, 4, 1)):
    images = np.random.default_rng(0).uniform(-1, 1, (n, *shape)).astype(np.float32)
    return Split(Paired(images, np.arange(n, dtype=np.int32) % 3, seeds=np.arange(100, 100 + n, dtype=np.uint32)))


def test_seeds_stay_with_their_images():
    split = source()
    batch = Batches(split, 16, seed=3).batch(5)
    np.testing.assert_array_equal(batch.image, split.source.images[batch.seed - 100])
    np.testing.assert_array_equal(batch.label, split.source.labels[batch.seed - 100])
    assert batch.mirrored is None
    assert split[3].seed == 103
    assert Batches(Split(split.source), 4).batch(0).seed.dtype == np.uint32


class Nothing:
    def __call__(self, params, x, t, d, cond, key=None):
        return 0 * x


MODEL = Model(Nothing(), Linear(), VELOCITY)


def test_a_flip_moves_both_members():
    flipped = Batches(source(), 16, seed=3, flip=True).batch(5)
    plain = Batches(source(), 16, seed=3).batch(5)
    assert 0 < flipped.mirrored.sum() < 16
    one, other = (ReFlow().draw(MODEL, batch, jax.random.key(0)) for batch in (plain, flipped))
    for i, mirrored in enumerate(flipped.mirrored):
        turned = (slice(None), slice(None, None, -1)) if mirrored else (slice(None), slice(None))
        np.testing.assert_array_equal(other.x0[i], one.x0[i][turned])
        np.testing.assert_array_equal(other.eps[i], one.eps[i][turned])


def test_reflow_learns_the_straight_path():
    """Its loss is what the network lacks of z - x0, and without pairs there is none."""
    batch = source(8)[:]
    examples = ReFlow().draw(MODEL, batch, jax.random.key(0))
    loss, told = ReFlow()(MODEL, {"net": {}}, None, examples)
    want = np.mean((np.asarray(examples.eps) - np.asarray(examples.x0)) ** 2)
    assert float(loss) == pytest.approx(want, rel=1e-5)
    assert float(told["straightness"]) == pytest.approx(want, rel=1e-5)
    assert ReFlow(huber=0.5)(MODEL, {"net": {}}, None, examples)[0] < loss
    with pytest.raises(ValueError, match=r"train\.pairs = @pairs"):
        ReFlow().draw(MODEL, Batch(np.zeros((2, 4, 4, 1), np.float32), None), jax.random.key(0))


def test_a_flow_straightened_once_is_exact_in_one_step():
    """Of Gaussian data x_t is a known multiple of z on every path, so that the velocity z - x0 is a function of x_t."""
    seeds = np.arange(2000, dtype=np.uint32)
    z = np.asarray(unit_noise(seeds, (2,)))
    x0 = MEAN + STD * z  # what the exact flow makes of it

    class Straight:
        def __call__(self, params, x, t, d, cond, key=None):
            t = over(t, x)
            noise = (x - (1 - t) * MEAN) / ((1 - t) * STD + t)
            return noise - (MEAN + STD * noise)

    model = Model(Straight(), Linear(), VELOCITY)
    examples = ReFlow().draw(model, Batch(x0, None, seeds), jax.random.key(0))
    assert ReFlow()(model, {"net": {}}, None, examples)[0] < 1e-10
    one = draw(model.denoiser({}), tabulate(euler(Linear(), np.array([1.0, 0.0]))), seeds[:20], (2,))
    np.testing.assert_allclose(one, x0[:20], atol=1e-5)


def test_times_of_the_methods():
    t = np.asarray(u_shaped(Linear(), jax.random.key(0), 20_000))
    a, edges = 4.0, np.linspace(0, 1, 11)
    cumulative = (np.expm1(a * edges) + np.expm1(a) - np.expm1(a * (1 - edges))) / (2 * np.expm1(a))
    counts = np.histogram(t, edges)[0]
    np.testing.assert_allclose(counts / 20_000, np.diff(cumulative), atol=0.012)
    key = jax.random.key(0)
    assert (np.asarray(at_steps(Linear(), key, 3)) > 1 - 1e-4).all()
    asked = np.asarray(at_steps(Linear(), key, 6, steps=3))
    np.testing.assert_allclose(np.sort(asked), np.repeat([1 / 3, 2 / 3, 1], 2), atol=2e-5)
