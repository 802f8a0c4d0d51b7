"""The semidiscrete coupling: every image as often as the others, the noise as it was, and kept numbers."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import numpy as np
import pytest

from fewstep.diffusion import PFGM
from fewstep.diffusion.networks import MLP
from fewstep.diffusion.variance import NPR
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.data import Arrays, Batches, Dataset, Split, digits, points, semidiscrete
from fewstep.train.data.semidiscrete import Semidiscrete
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare, train
from fewstep.train.objectives import Denoising, SecondMoment, Shortcut
from fewstep.train.optimizers import adamw


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(semidiscrete, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def some(n=24, classes=2, shape=(2, 2, 1)):
    rng = np.random.default_rng(0)
    return Split(Arrays(np.float32(rng.standard_normal((n, *shape))), rng.integers(0, classes, n).astype(np.int32)))


def drawn(coupled, count, seed=7):
    """How often each image is chosen in `count` draws of every class."""
    rng, found = np.random.default_rng(seed), np.zeros(len(coupled.images))
    for c, (first, last) in enumerate(pairwise(coupled.starts)):
        for _ in range(-(-count * (last - first) // 4096)):
            chosen = coupled.choose(rng.standard_normal((4096, coupled.images.shape[1]), np.float32), np.full(4096, c))
            assert ((first <= chosen) & (chosen < last)).all()
            found += np.bincount(chosen, minlength=len(found))
    return found


def judged(coupled, found):
    """(chi-square in standard deviations from its mean, the largest relative deviation)."""
    sizes = np.diff(coupled.starts)
    draws = [found[first:last].sum() for first, last in pairwise(coupled.starts)]
    wanted = np.repeat(draws / sizes, sizes)
    free = (sizes - 1).sum()
    return (((found - wanted) ** 2 / wanted).sum() - free) / np.sqrt(2 * free), abs(found / wanted - 1).max()


@pytest.mark.slow
def test_every_digit_is_chosen_equally_often():
    """Within its class, by chi-square on 100 draws per image."""
    coupled = Semidiscrete(draws=2**20).couple(digits().train, 10)
    deviation, largest = judged(coupled, drawn(coupled, 100))
    assert abs(deviation) < 3
    assert largest < 0.5  # 4.4 standard deviations of a count of 100 are 0.44
    plain = replace(coupled, duals=np.zeros_like(coupled.duals))
    assert judged(plain, drawn(plain, 100))[0] > 100


def test_on_a_line_the_coupling_is_monotone():
    """The optimal one in closed form: the k-th of N points for noise between the quantiles k / N and (k + 1) / N."""
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    line = np.float32(rng.permutation(np.linspace(-1, 1, 10) + rng.uniform(-0.05, 0.05, 10)))[:, None]
    coupled = Semidiscrete(draws=2**20).couple(Split(Arrays(line)), 0)
    z = np.linspace(-3, 3, 20_001, dtype=np.float32)[:, None]
    place = np.argsort(np.argsort(line[:, 0]))[coupled.choose(z, np.zeros(len(z), int))]
    assert (np.diff(place) >= 0).all()
    found = z[1:, 0][np.diff(place) > 0]
    assert len(found) == 9
    np.testing.assert_allclose(norm.cdf(found), np.arange(1, 10) / 10, atol=3e-3)


def test_the_noise_stays_as_it_was():
    """It is drawn first, so that its law is exactly that without a coupling, as are the labels."""
    split = some(256, classes=3)
    coupled, plain = (Batches(split, 32, seed=1, coupling=c) for c in (Semidiscrete(2**14).couple(split, 3), None))
    batches = [coupled.batch(k) for k in range(400)]
    eps = np.concatenate([batch.eps for batch in batches]).ravel()
    assert abs(eps.mean()) < 4.5 / np.sqrt(len(eps))
    assert abs(eps.std() - 1) < 4.5 / np.sqrt(2 * len(eps))
    assert abs((eps**4).mean() - 3) < 4.5 * np.sqrt(96 / len(eps))
    for k in (0, 1, 9):
        np.testing.assert_array_equal(batches[k].label, plain.batch(k).label)
    image = np.concatenate([batch.image for batch in batches]).reshape(-1, 4)
    assert np.mean(image * eps.reshape(-1, 4)) > 0.3  # but it is near its image now
    of = {image.tobytes(): label for image, label in zip(split[:].image, split[:].label, strict=True)}
    label = np.concatenate([batch.label for batch in batches])
    assert [of[one.reshape(2, 2, 1).tobytes()] for one in image] == label.tolist()


def test_no_pairing_of_the_same_noise_and_images_is_nearer():
    from scipy.optimize import linear_sum_assignment

    split = some(16, classes=1)
    coupled = Semidiscrete(2**16).couple(split, 0)
    z = np.random.default_rng(3).standard_normal((400, 4), np.float32)
    chosen = coupled.images[coupled.choose(z, np.zeros(400, int))]
    rows, columns = linear_sum_assignment(-(z @ chosen.T))
    assert (z * chosen).sum() == pytest.approx((z[rows] * chosen[columns]).sum(), rel=1e-5)


def test_a_batch_depends_on_seed_and_k_alone_and_its_rows_are_those_of_the_whole():
    split = some()
    batches = Batches(split, 8, seed=3, flip=True, coupling=Semidiscrete(2**12).couple(split, 2))
    whole, part = batches.batch(5), batches.batch(5, np.array([1, 6]))
    for name in ("image", "label", "eps"):
        np.testing.assert_array_equal(getattr(whole, name)[[1, 6]], getattr(part, name))
    straight = Batches(split, 8, seed=3, coupling=batches.coupling).batch(5)
    mirrored = (whole.eps != straight.eps).any((1, 2, 3))
    assert 0 < mirrored.sum() < 8
    np.testing.assert_array_equal(whole.eps[mirrored], straight.eps[mirrored, :, ::-1])
    np.testing.assert_array_equal(whole.image[mirrored], straight.image[mirrored, :, ::-1])


def test_scores_in_parts_choose_the_same(monkeypatch):
    split = some(200, classes=1)
    coupled = Semidiscrete(2**12).couple(split, 0)
    z, classes = np.random.default_rng(5).standard_normal((50, 4), np.float32), np.zeros(50, int)
    whole = coupled.choose(z, classes)
    monkeypatch.setattr(semidiscrete, "MOST_SCORES", 700)
    np.testing.assert_array_equal(coupled.choose(z, classes), whole)


def test_numbers_are_fitted_once_for_a_data_set(cache, capsys):
    first = Semidiscrete(2**12).couple(some(), 2)
    assert "coupling of noise and images: fitted in" in capsys.readouterr().err
    again = Semidiscrete(2**12).couple(some(), 2)
    assert not capsys.readouterr().err
    np.testing.assert_array_equal(first.duals, again.duals)
    (path,) = cache.iterdir()
    for other in ((2**12, some(26), 2), (2**13, some(), 2), (2**12, some(), 0)):  # images, draws, classes
        Semidiscrete(other[0]).couple(*other[1:])
    assert len([*cache.iterdir()]) == 4
    path.write_bytes(path.read_bytes()[:-40])
    capsys.readouterr()
    np.testing.assert_array_equal(Semidiscrete(2**12).couple(some(), 2).duals, first.duals)
    assert "fitted in" in capsys.readouterr().err


def test_a_class_of_one_image_and_one_of_none():
    images = np.float32(np.random.default_rng(0).standard_normal((5, 3)))
    coupled = Semidiscrete(2**10).couple(Split(Arrays(images, np.array([0, 0, 0, 0, 2], np.int32))), 3)
    assert np.isfinite(coupled.duals).all()
    batch = coupled.batch(np.array([4, 0]), np.float32(np.random.default_rng(1).standard_normal((2, 3))))
    np.testing.assert_array_equal(batch.image[0], images[4])
    assert batch.label.tolist() == [2, 0]


def experiment(**options):
    settings = {"objective": Denoising(), "steps": 6, "batch_size": 16, "save_every": 3, "log_every": 1}
    network, data = partial(MLP, width=16, depth=1), partial(points, count=200, held_out=50)
    settings |= {"optimizer": partial(adamw, warmup=2), "coupling": Semidiscrete(2**12)}
    return Experiment(data, network, **(settings | options))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Denoising(), pytest.param(Shortcut(), marks=pytest.mark.slow)])
def test_resumed_to_the_last_bit(objective, tmp_path):
    def state(folder):
        like = run.fresh.eval_shape()
        like = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), like, run.placed)
        with Checkpoints(folder / "checkpoints", create=False) as checkpoints:
            return checkpoints.restore(6, like)

    run = prepare(experiment(objective=objective), points(count=200, held_out=50))
    train(run, tmp_path / "whole")
    train(run, tmp_path / "parted")
    run = prepare(experiment(objective=objective), points(count=200, held_out=50))
    assert train(run, tmp_path / "parted", step=3) == 6
    jax.tree.map(np.testing.assert_array_equal, state(tmp_path / "whole"), state(tmp_path / "parted"))


def test_the_network_is_trained_on_the_noise_of_the_pairs():
    run = prepare(experiment(), points(count=200, held_out=50))
    batch = run.batches.batch(0)
    examples = Denoising().draw(run.model, batch, jax.random.key(0))
    np.testing.assert_array_equal(examples.eps, batch.eps)
    np.testing.assert_array_equal(examples.x0, batch.image)


def test_couplings_that_cannot_be(monkeypatch):
    for options, words in (
        ({"process": PFGM()}, "train.coupling requires Gaussian noise"),
        ({"variance": NPR(), "objective": SecondMoment()}, "train.coupling does not go with train.variance"),
        ({"coupling": Semidiscrete}, "train.coupling must be an instance: write it with brackets"),
    ):
        with pytest.raises(ValueError, match=words):
            experiment(**options)
    monkeypatch.setattr(semidiscrete, "free_memory", lambda: 100)
    with pytest.raises(ValueError, match="keeps the images in memory, which takes"):
        prepare(experiment(), Dataset("some", some(), some(), 2))
