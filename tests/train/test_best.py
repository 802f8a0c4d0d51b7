"""The end of training by the Frechet distance of previews."""

import json
from functools import partial
from threading import Event

import pytest

from fewstep.diffusion.networks import MLP
from fewstep.errors import UsageError
from fewstep.train.checkpoints import Checkpoints
from fewstep.train.data import points
from fewstep.train.experiment import Experiment
from fewstep.train.logs.best import Best, best_preview, logged
from fewstep.train.logs.jsonl import read
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
        ([None, None, None], None, False),
    ],
)
def test_training_is_over_two_previews_after_the_best(tmp_path, values, step, over):
    lines = [{"step": at, "FD-points": value} for at, value in enumerate(values, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [{"step": 0}, *lines]))
    known = logged(read(tmp_path / "metrics.jsonl"), 10)
    assert [*known] == [*range(1, len(values) + 1)]
    found = Best(known, known, 2)
    assert (found.step, found.kept, found.over) == (step, step, over)
    never = Best(known, known, None)
    assert (never.step, never.kept, never.over) == (step, None, False)
    seen = Best({}, [], 2)
    for at, value in enumerate(values, 1):
        seen.see(at, {"loss": 0.0, "FD-points": float("nan") if value is None else value})
    assert (seen.step, seen.over) == (step, over)


def test_what_has_no_checkpoint_is_not_the_best():
    """As where patience is set late, or an earlier step is resumed."""
    found = {2: 0.1, 4: 0.5, 6: 0.4, 8: 0.45}
    late = Best(found, [4, 6, 8], 2)
    assert (late.step, late.over) == (6, False)
    late.see(10, {"FD-pixels": 0.2})
    assert (late.step, late.over) == (10, False)
    assert Best(found, [4, 6, 8], 1).over
    assert Best(found, [], 1).step is None


def test_what_was_logged_later_does_not_count(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "FD-points": 0.5}\n{"step": 2, "FD-points": 0.1}\n')
    assert logged(read(tmp_path / "metrics.jsonl"), 1) == {1: 0.5}


def training(**settings):
    options = {"batch_size": 16, "steps": 40, "log_every": 5, "preview_every": 2, "save_every": 4} | settings
    data, network = partial(points, count=100, held_out=20), partial(MLP, width=8, depth=1)
    return prepare(Experiment(data, network, Denoising(), partial(adamw, warmup=2), **options), data())


def scripted(values):
    values = iter(values)
    return lambda den: {"FD-points": next(values)}


@pytest.mark.slow
def test_the_checkpoint_of_the_best_preview_is_kept(tmp_path):
    """Steps 2, 4, ... are previewed; six previews after that of step 6, which is not a multiple of save_every."""
    values = [0.5, 0.4, 0.1, 0.3, 0.2, 0.15, 0.2, 0.3, 0.2]
    assert train(training(patience=6), tmp_path, score=scripted(values)) == 18
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [6, 12, 16, 18]
    assert train(training(patience=6), tmp_path, score=scripted([])) == 18  # the same call has nothing to do
    assert train(training(patience=7), tmp_path, score=scripted([0.05, *[0.3] * 7])) == 34
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [20, 28, 32, 34]  # the former best is one of the others


@pytest.mark.slow
def test_patience_goes_on_after_a_stop_and_when_it_is_set_late(tmp_path):
    stop = Event()

    def stopping(den, values=iter([0.5, 0.1, 0.3])):
        value = next(values)
        if value == 0.3:
            stop.set()
        return {"FD-points": value}

    assert train(training(patience=3, save_every=100), tmp_path, stop, score=stopping) == 7
    assert train(training(patience=3, save_every=100), tmp_path, score=scripted([0.2, 0.4])) == 10
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert 4 in checkpoints.steps()
    late = tmp_path / "late"
    assert train(training(steps=16), late, score=scripted([0.5, 0.1, *[0.3] * 6])) == 16
    again = training(steps=16, patience=2)
    with Checkpoints(late / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [8, 12, 16]  # that of step 4 is gone
    assert train(again, late, score=scripted([])) == 16
    assert best_preview(late, 16, 2).step == 8


@pytest.mark.slow
def test_without_patience_the_last_ones_are_kept(tmp_path):
    assert train(training(steps=18), tmp_path, score=scripted([0.1, *[0.2] * 8])) == 18
    with Checkpoints(tmp_path / "checkpoints", create=False) as checkpoints:
        assert checkpoints.steps() == [12, 16, 18]


def test_patience_requires_held_out_images():
    data = partial(points, count=100, held_out=1)
    experiment = Experiment(data, partial(MLP, width=8, depth=1), Denoising(), adamw, patience=2)
    with pytest.raises(UsageError, match=r"train\.patience requires two held-out images, and moons has fewer"):
        prepare(experiment, data())
