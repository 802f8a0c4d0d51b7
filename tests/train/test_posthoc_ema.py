"""Power-function averages: their profiles, and others rebuilt from snapshots of them."""

import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refused import message

from fewstep.diffusion.networks import MLP
from fewstep.train import ema
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.checkpoints.snapshots import MOST, rebuilt
from fewstep.train.data import points
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare, train
from fewstep.train.objectives import Denoising
from fewstep.train.optimizers import adamw

LENGTHS, OTHERS, STEPS = (0.05, 0.1), (0.03, 0.07, 0.13, 0.2), 200


def tracked(steps, lengths, params):
    """The averages of params(step), {length: (d,)}, after each step."""
    averages, found = {name: {"net": jnp.full_like(params(1), 100.0)} for name in ema.power_names(lengths)}, []
    move = jax.jit(ema.update)
    for step in range(steps):
        averages = move(averages, {"net": params(step + 1)}, step)
        found.append({length: np.asarray(averages[f"length_{length}"]["net"], np.float64) for length in lengths})
    return found


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.25])
def test_a_profile_is_a_power_of_the_length(length):
    """What an average makes of unit vectors: weights that are differences of (k / T)^(gamma + 1), with the standard
    deviation of their length; none for the initial parameters."""
    units = jnp.eye(400)
    weights = tracked(400, [length], lambda step: units[step - 1])[-1][length]
    power = ema.exponent(length) + 1
    at = np.arange(401) / 400
    np.testing.assert_allclose(weights, np.diff(at**power), atol=1e-5)
    mean = (weights * at[1:]).sum()
    np.testing.assert_allclose(np.sqrt((weights * (at[1:] - mean) ** 2).sum()), length, rtol=0.02)


def test_a_known_average_is_itself():
    known = [(at, length) for at in (25, 50, 75, 100) for length in LENGTHS]
    for index, length in ((6, 0.05), (7, 0.1)):
        weights, error = ema.coefficients(known, 100, length)
        np.testing.assert_allclose(weights, np.eye(8)[index], atol=1e-6)
        assert error < 1e-6


@pytest.mark.parametrize("length", OTHERS)
def test_the_weights_are_the_best_of_those_that_add_up_to_one(length):
    """Against least squares over the single steps of a finely divided training."""
    count, known = 20_000, [(at, of) for at in (250, 500, 750, 1000) for of in LENGTHS]
    at = np.arange(count + 1) / count

    def profile(step, of):
        return np.diff(np.minimum(at * 1000 / step, 1) ** (ema.exponent(of) + 1)) * count

    basis = np.stack([profile(*one) for one in known])
    found, error = ema.coefficients(known, 1000, length)
    assert found.sum() == pytest.approx(1)
    # Of weights with the sum 1, all but the last are free.
    free = (basis[:-1] - basis[-1]).T
    best = np.linalg.lstsq(free, profile(1000, length) - basis[-1], rcond=None)[0]
    residuals = [np.square(profile(1000, length) - w @ basis).mean() for w in (found, np.append(best, 1 - best.sum()))]
    assert residuals[0] <= 1.001 * residuals[1]
    assert error == pytest.approx(np.sqrt(residuals[0] / np.square(profile(1000, length)).mean()), rel=0.01)


@pytest.mark.parametrize("lengths", [(0.05,), (0.05, 0.05)])
def test_lengths_are_two_or_more(lengths):
    with pytest.raises(ValueError, match="two or more different lengths"):
        training(lengths)


def training(lengths=LENGTHS, steps=STEPS, **options):
    network, data = partial(MLP, width=16, depth=1), partial(points, count=400, held_out=50)
    options = {"batch_size": 16, "ema": (0.9,), "log_every": 50, "save_every": 10} | options
    optimizer = partial(adamw, lr=5e-3, warmup=10)
    return prepare(
        Experiment(data, network, Denoising(), optimizer, steps=steps, ema_lengths=lengths, **options), data()
    )


def shapes(run):
    return jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), run.fresh.eval_shape().ema, run.placed.ema
    )


def steps_of(folder):
    return sorted(int(path.name) for path in (folder / "averages").iterdir() if path.name.isdigit())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run that keeps the usual two averages, and its training."""
    folder, made = tmp_path_factory.mktemp("kept") / "run", training()
    train(made, folder)
    return folder, made


@pytest.mark.slow
def test_any_length_is_rebuilt(run, tmp_path):
    """As it is when it is tracked directly, in training that is the same bit for bit; also at an earlier checkpoint."""
    folder, made = run
    direct = training(OTHERS)
    train(direct, tmp_path / "direct")
    for step in (STEPS, STEPS - 20):
        with Checkpoints(tmp_path / "direct" / "checkpoints", create=False) as checkpoints:
            expected = checkpoints.restore_ema(step, shapes(direct))
        for length in OTHERS:
            found = jax.tree.leaves(rebuilt(folder, step, shapes(made), LENGTHS, length))
            wanted = jax.tree.leaves(expected[f"length_{length}"])
            away = np.sqrt(sum(np.square(a - b).sum() for a, b in zip(found, wanted, strict=True)))
            assert away <= 1e-3 * np.sqrt(sum(np.square(a).sum() for a in wanted)), (step, length)


@pytest.mark.slow
def test_snapshots_are_few(run):
    folder, _ = run
    assert len(steps_of(folder)) <= MOST
    assert steps_of(folder) == list(range(20, STEPS + 1, 20))


@pytest.mark.slow
def test_an_extended_run_keeps_its_snapshots_but_those_that_are_near_others(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    train(training(steps=2 * STEPS), tmp_path / "run")
    assert steps_of(tmp_path / "run") == [*range(20, STEPS, 20), *range(210, 2 * STEPS, 30)]


@pytest.mark.slow
def test_killed_and_resumed_to_the_last_bit(run, tmp_path):
    """From a checkpoint with snapshots after it, and with its own not yet written when the run was killed."""
    folder, made = run
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "averages" / str(STEPS - 20))
    train(training(), tmp_path / "run", step=STEPS - 20)
    assert steps_of(tmp_path / "run") == steps_of(folder)
    one, other = (rebuilt(at, STEPS, shapes(made), LENGTHS, 0.07) for at in (folder, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_without_them_says_how_to_have_them(tmp_path):
    assert "train.ema_lengths = (0.05, 0.1)" in message(lambda: rebuilt(tmp_path, 1, {}, (), 0.07))
