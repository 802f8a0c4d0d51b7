"""The end of training by the Frechet distance of previews."""

import json
from functools import partial

import pytest

from fewstep.diffusion.networks import MLP
from fewstep.errors import UsageError
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.data import points
from fewstep.train.experiment import Experiment
from fewstep.train.logs.best import Best
from fewstep.train.loop import prepare, train
from fewstep.train.objectives import Denoising
from fewstep.train.optimizers import adamw


@pytest.mark.parametrize(
    ("values", "step", "over"),
    [
        ([], None, False),
        ([0.5, 0.4, 0.3], 3, False),
        ([0.5, 0.3, 0.4], 2, False),
        ([0.5, 0.3, 0.4, 0.35], 2, True),
        ([0.5, 0.3, 0.4, 0.29], 4, False),
        ([0.5, 0.3, 0.3, 0.3], 2, True),
        ([0.5, None, None], 1, True),
    ],
)
def test_training_is_over_two_previews_after_the_best(tmp_path, values, step, over):
    lines = [{"step": at, "FD-points": value} for at, value in enumerate(values, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [{"step": 0}, *lines]))
    found = Best(tmp_path, 10, 2)
    assert (found.step, found.kept, found.over) == (step, step, over)
    never = Best(tmp_path, 10, None)
    assert (never.step, never.kept, never.over) == (step, None, False)
    seen = Best(tmp_path / "none", 0, 2)
    for at, value in enumerate(values, 1):
        seen.see(at, {"loss": 0.0, "FD-points": float("nan") if value is None else value})
    assert (seen.step, seen.over) == (step, over)


def test_what_was_logged_later_does_not_count(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "FD-points": 0.5}\n{"step": 2, "FD-points": 0.1}\n')
    assert Best(tmp_path, 1, 1).step == 1


def training(**settings):
    options = {"batch_size": 16, "steps": 40, "log_every": 5, "preview_every": 2, "save_every": 4} | settings
    data, network = partial(points, count=100, held_out=20), partial(MLP, width=8, depth=1)
    return prepare(Experiment(data, network, Denoising(), partial(adamw, warmup=2), **options), data())


def scripted(values):
    values = iter(values)
    return lambda den: {"FD-points": next(values)}


@pytest.mark.slow
def test_the_checkpoint_of_the_best_preview_is_kept(tmp_path):
    """Steps 2, 4, ... are previewed; three previews after that of step 6, which is not a multiple of save_every."""
    values = [0.5, 0.4, 0.1, 0.3, 0.2, 0.15, 0.2, 0.3, 0.2]
    assert train(training(patience=6), tmp_path, score=scripted(values)) == 18
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [6, 12, 16, 18]
    assert train(training(patience=6), tmp_path, score=scripted([])) == 18  # the same call has nothing to do
    assert train(training(patience=7), tmp_path, score=scripted([0.05, *[0.3] * 7])) == 34
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [20, 28, 32, 34]  # the former best is one of the others


@pytest.mark.slow
def test_without_patience_the_last_ones_are_kept(tmp_path):
    assert train(training(steps=18), tmp_path, score=scripted([0.1, *[0.2] * 8])) == 18
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [12, 16, 18]


def test_patience_requires_held_out_images():
    data = partial(points, count=100, held_out=1)
    experiment = Experiment(data, partial(MLP, width=8, depth=1), Denoising(), adamw, patience=2)
    with pytest.raises(UsageError, match=r"train\.patience compares previews with held-out images"):
        prepare(experiment, data())
