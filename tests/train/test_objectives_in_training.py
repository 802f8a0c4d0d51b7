"""Every objective under the training loop: resumed to the bit, in parts, and after a spike."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from fewstep.diffusion.networks import MLP
from fewstep.diffusion.variance import NPR, LearnedRange
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.checkpoints.warm_start import with_weights
from fewstep.train.data import points
from fewstep.train.data.pairs import Paired
from fewstep.train.data.split import Split
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare, train
from fewstep.train.objectives import (
    CTM,
    DMD,
    IMM,
    LSD,
    PSD,
    AlphaFlow,
    ContinuousConsistency,
    Denoising,
    DiscreteConsistency,
    Frechet,
    Hybrid,
    ImprovedMeanFlow,
    MeanFlow,
    Progressive,
    ReFlow,
    SecondMoment,
    Shortcut,
    SiD,
)  # fmt: skip
from fewstep.train.objectives.frechet import Measured
from fewstep.train.optimizers import adamw

MOMENTS = Measured("points", "", lambda params, x: params * x, np.float32(2.0), np.ones(2), np.diag([1.0, 0.1]))
OBJECTIVES = {
    "denoising": Denoising(),
    "second moment": SecondMoment(),
    "hybrid": Hybrid(),
    "reflow": ReFlow(),
    "shortcut": Shortcut(),
    "meanflow": MeanFlow(),
    "imf": ImprovedMeanFlow(),
    "lsd": LSD(),
    "psd": PSD(),
    "alpha_flow": AlphaFlow(),
    "consistency": DiscreteConsistency(),
    "distilled consistency": DiscreteConsistency(teacher=True),
    "imm": IMM(),
    "frechet": Frechet(learned="instant", nfe=2, known=(MOMENTS,)),
    "queued frechet": Frechet(learned="jump", queue=32, known=(MOMENTS,)),
    "ctm": CTM(),
    "progressive": Progressive(),
    "continuous consistency": ContinuousConsistency(warmup=2),
    "distilled continuous consistency": ContinuousConsistency(warmup=2, teacher=True),
    "sid": SiD(),
    "dmd": DMD(calls=2, ratio=2, adversarial=1.0),
}
SECOND = {"second moment": NPR(), "hybrid": LearnedRange()}
QUICK = ("shortcut", "frechet")
# Every way to make a loss: alone, with a second output, of a split batch, by derivatives, with a teacher.
WAYS = (
    "denoising", "hybrid", "shortcut", "meanflow", "imf", "lsd", "psd", "alpha_flow", "distilled consistency", "imm",
)  # fmt: skip


def paired():
    rng = np.random.default_rng(0)
    return Split(
        Paired(np.float32(rng.standard_normal((64, 2))), np.zeros(64, np.int32), seeds=np.arange(64, dtype=np.uint32))
    )


def training(name, **options):
    objective = OBJECTIVES[name]
    settings = {"steps": 6, "batch_size": 16, "ema": (0.9, 0.99), "save_every": 3, "log_every": 1}
    settings |= {"optimizer": partial(adamw, warmup=2)} | options
    if objective.needs_pairs:
        settings["pairs"] = paired
    if name in SECOND:
        settings["variance"] = SECOND[name]
    network, data = partial(MLP, width=16, depth=1), partial(points, count=200, held_out=50)
    return prepare(Experiment(data, network, objective, **settings), data())


def weights():
    """Of another run: without a second output, and with nothing at its start that is zero."""
    fresh = training("denoising").fresh().params["net"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: np.float32(0.3 * rng.standard_normal(a.shape)), fresh)


def saved(run, folder, step):
    shapes = run.fresh.eval_shape()
    like = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, run.placed)
    with Checkpoints(folder / "checkpoints", create=False) as checkpoints:
        return checkpoints.restore(step, like)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OBJECTIVES]
)
def test_resumed_to_the_last_bit(name, tmp_path):
    """Teachers, averages and what is trained beside the network are part of what a checkpoint keeps."""
    run, begin = training(name), weights()
    assert train(run, tmp_path / "whole", weights=lambda: begin) == 6
    train(run, tmp_path / "parted", weights=lambda: begin)
    assert train(run, tmp_path / "parted", step=3) == 6  # from its third step once more
    first, second = (saved(run, tmp_path / folder, 6) for folder in ("whole", "parted"))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert bool(second.frozen) == OBJECTIVES[name].needs_teacher
    jax.tree.map(np.testing.assert_array_equal, second.frozen, with_weights(run.fresh(), begin).frozen)
    start = with_weights(run.fresh(), begin).params
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), first.params, start)
    assert all(any(jax.tree.leaves(group)) for group in moved.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WAYS, "sid", "dmd"])
def test_a_batch_in_parts_is_a_step_of_the_whole(name):
    found, begin = [], weights()
    for parts in (1, 2):
        run = training(name, accumulate=parts, optimizer=lambda steps: optax.sgd(0.01))
        state, metrics = run.step(with_weights(run.fresh(), begin), run.batches.batch(0))
        found.append((state.params, metrics))
    one, other = found
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_a_spike_does_not_destroy_a_run(name):
    """Images a thousand times too large for one step, then a step that is not finite at all."""
    run = training(name, steps=60)
    state, begin = run.fresh(), None
    for k in range(20):
        batch = run.batches.batch(k)
        if k == 10:
            begin = state.params
            begin = jax.tree.map(np.asarray, begin)
            batch = batch._replace(image=1e3 * batch.image)
        if k == 11:
            batch = batch._replace(image=np.nan * batch.image)
        state, metrics = run.step(state, batch)
        if k == 11:
            assert int(state.nonfinite_steps) == 1
        elif k != 10:
            assert int(state.nonfinite_steps) == 0
    moved = jax.tree.map(lambda a, b: float(abs(np.asarray(a) - b).max()), state.params, begin)
    assert max(jax.tree.leaves(moved)) < 20 * 1e-3 * 3  # steps of Adam are of the size of its rate
    assert np.isfinite(float(metrics["loss"]))
