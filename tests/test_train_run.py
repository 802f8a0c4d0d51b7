"""train_run and open_run: what is refused, what opens again, and what resumes."""

import logging
import shutil
import signal
import sys
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from trained_run import trained

import fewstep
from fewstep.cli.config.load import difference
from fewstep.cli.main import main
from fewstep.diffusion.variance import LearnedRange
from fewstep.train.data import arrays, points
from fewstep.train.objectives.times import TIMES, logit_normal
from fewstep.train.optimizers import adamw
from fewstep.train.utils.sealed import read_config

POINTS = np.tanh(np.random.default_rng(0).standard_normal((200, 2))).astype(np.float32)
SHORT = {"steps": 4, "save_every": 4, "log_every": 2, "preview_every": 100, "batch_size": 16}
SMALL = partial(fewstep.MLP, width=8)


class Net(nnx.Module):
    def __init__(self, rngs, variance=False):
        self.inner = nnx.Linear(3, 4 if variance else 2, rngs=rngs)

    def __call__(self, x, t):
        return self.inner(jnp.concatenate([x, t[:, None]], axis=1))


class Scaled(fewstep.Objective):
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, model, params, state, examples):
        x = fewstep.objectives.noisy(model, examples)
        raw, _ = model.outputs(params["net"], x, examples.t, cond=fewstep.Cond(examples.label), key=examples.key)
        return self.scale * jnp.mean((raw - fewstep.objectives.target(model, examples)) ** 2), {}


class OwnRange(LearnedRange):
    """Own in name only."""


def train(folder, **options):
    return fewstep.train_run(folder, **{"data": POINTS, "network": SMALL, **SHORT, **options})


class Sends(logging.Handler):
    """Sends this process a signal as soon as training has begun."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def emit(self, record):
        if record.getMessage().startswith("data:"):
            signal.raise_signal(self.number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_is_saved_and_the_signal_delivered(tmp_path, number):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    logger, sends = logging.getLogger("fewstep"), Sends(number)
    logger.addHandler(sends)
    logger.setLevel("INFO")
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", steps=10, save_every=10)
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    finally:
        logger.removeHandler(sends)
        signal.signal(signal.SIGTERM, before)
    assert seen == [number] * (number == signal.SIGTERM)
    assert fewstep.open_run(tmp_path / "run").step == 1
    assert train(tmp_path / "run", steps=10, save_every=10).step == 10


@pytest.mark.slow
def test_training_in_another_thread_has_no_signals(tmp_path):
    before, found = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: found.append(train(tmp_path / "run").step))
    thread.start()
    thread.join()
    assert found == [4]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"process": fewstep.VP, "objective": fewstep.objectives.Denoising, "prediction": fewstep.edm(0.4)},
            marks=pytest.mark.slow,
        ),
        {
            "process": fewstep.VE(sigma_max=np.float64(20.0)),
            "ema": (np.float64(0.99),),
            "seed": np.int64(3),
            "optimizer": partial(adamw, lr=np.float32(0.5)),
        },
        pytest.param(
            {"objective": fewstep.objectives.Denoising(times=partial(logit_normal, mean=1.0)), "optimizer": adamw},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_config_can_name_opens_again(tmp_path, options):
    run = train(tmp_path / "run", **options)
    assert "given_in_python" not in (tmp_path / "run/config.gin").read_text().replace("data/given_in_python", "")
    opened = fewstep.open_run(tmp_path / "run")
    assert opened.model == run.model
    assert opened.weights == run.weights


def test_own_parts_are_handed_over_again(tmp_path):
    parts = {"network": Net, "variance": OwnRange(), "objective": fewstep.objectives.Hybrid(), "process": fewstep.VP()}
    run = train(tmp_path / "run", **parts)
    assert isinstance(run.model.variance, OwnRange)
    with pytest.raises(fewstep.UsageError, match=r"variance of this run was given.*open_run\(folder, variance="):
        fewstep.open_run(tmp_path / "run", network=Net)
    assert fewstep.open_run(tmp_path / "run", network=Net, variance=OwnRange()).model.variance == OwnRange()


def test_what_would_not_open_again_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(fewstep.UsageError, match=r"MLP\.shape is filled in"):
        train(tmp_path / "run", network=partial(fewstep.MLP, width=8, shape=(2,)))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_runs_of_the_command_line_and_of_python_resume_each_other(tmp_path):
    small = ["MLP.width=8", "train.steps=4", "points.count=1000", "points.held_out=200"]
    trained("configs/points/moons.gin", tmp_path / "cli", small)
    text = read_config(tmp_path / "cli/config.gin")
    values = dict(line.split(" = ") for line in text.splitlines())
    named = {name: int(values[f"train.{name}"]) for name in ("batch_size", "log_every", "preview_every", "save_every")}
    parts = {
        "data": partial(points, kind="moons", count=1000, held_out=200),
        "optimizer": partial(adamw, lr=float(values["adamw.lr"])),
    }
    options = {**named, **parts, "objective": fewstep.objectives.Denoising(times=TIMES["uniform_times"])}
    assert train(tmp_path / "cli", **options).step == 4
    train(tmp_path / "python", **options)
    found = read_config(tmp_path / "python/config.gin")
    assert difference(text, found) == difference(found, text) == []
    trained(str(tmp_path / "python/config.gin"), tmp_path / "python")


def test_a_run_resumes_with_the_same_parts(tmp_path):
    own = {"network": Net, "optimizer": optax.adam(1e-3), "objective": Scaled(1.0)}
    train(tmp_path / "run", **own)
    assert train(tmp_path / "run", **(own | {"optimizer": optax.adam(1e-3), "objective": Scaled(1.0)})).step == 4
    for name, other in (
        ("optimizer", optax.adam(1.0)),
        ("optimizer", optax.sgd(1.0)),
        ("objective", Scaled(5.0)),
        ("data", np.concatenate([POINTS[:-1], -POINTS[-1:]])),
    ):
        with pytest.raises(fewstep.UsageError, match=rf"the {name} is another one|has changed"):
            train(tmp_path / "run", **(own | {name: other}))


def test_a_part_may_be_imported_from_elsewhere(tmp_path, monkeypatch):
    train(tmp_path / "run", network=Net)
    monkeypatch.setattr(Net, "__module__", "__main__")
    assert train(tmp_path / "run", network=Net).step == 4


@pytest.mark.slow
def test_own_networks_start_from_other_runs(tmp_path):
    first = train(tmp_path / "first", network=Net)
    for name, start in (("path", tmp_path / "first"), ("run", first)):
        run = train(tmp_path / name, network=Net, init_from=start, optimizer=optax.sgd(0.0))
        for found, known in zip(jax.tree.leaves(run.params), jax.tree.leaves(first.params), strict=True):
            np.testing.assert_allclose(found, known, atol=1e-6)
    with pytest.raises(fewstep.UsageError, match=r"init_from=.*other run") as error:
        train(tmp_path / "other", init_from=first)
    assert "--" not in str(error.value)


@pytest.mark.slow
def test_data_in_memory_are_kept_in_the_run(tmp_path, monkeypatch, capsys):
    labels = (POINTS[:, 0] > 0).astype(int)
    run = train(tmp_path / "run", data=(POINTS, labels))
    shutil.move(tmp_path / "run", tmp_path / "moved")
    data = fewstep.open_run(tmp_path / "moved").data
    for part in ("train", "held_out"):
        for found, known in zip(getattr(data, part)[:], getattr(run.load_data(), part)[:], strict=True):
            np.testing.assert_array_equal(found, known)
    words = ("compare", tmp_path / "moved", "--nfe", "1", "--sampler", "ddim", "--count", "10", "--metric", "FD")
    assert command(monkeypatch, *words) == 0
    path = tmp_path / "moved/data.npz"
    path.write_bytes(path.read_bytes()[:-30])
    assert command(monkeypatch, *words) == 2
    assert "data.npz is damaged" in capsys.readouterr().err.splitlines()[-1]
    assert len(fewstep.open_run(tmp_path / "moved", data=(POINTS, labels)).data.train) == 180


def test_arrays_are_copied():
    images = np.zeros((20, 4, 4, 1), np.uint8)
    data = arrays(images)
    images[:] = 255
    assert data.train[0].image.max() == -1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"stepz": 3}, r"no setting 'stepz': did you mean 'steps'"),
        ({"lr": 1.0}, r"no setting 'lr'"),
    ],
)
def test_unknown_settings_are_refused(tmp_path, options, part):
    with pytest.raises(fewstep.UsageError, match=part):
        train(tmp_path / "run", **options)
    with pytest.raises(fewstep.UsageError, match="folder is the path of the run"):
        train(None)


@pytest.mark.slow
def test_parts_that_a_run_does_not_need_are_refused(tmp_path):
    train(tmp_path / "run")
    for given, part in (
        ({"network": Net}, "names the network of this run"),
        ({"netwrok": Net}, "did you mean 'network'"),
        ({"params": {}}, "pass it too"),
    ):
        with pytest.raises(fewstep.UsageError, match=part):
            fewstep.open_run(tmp_path / "run", **given)
    with pytest.raises(fewstep.UsageError, match="is not a run"):
        fewstep.open_run(tmp_path / "none")


@pytest.mark.slow
def test_runs_opened_in_threads_are_not_mixed_up(tmp_path):
    for width in (8, 16):
        train(tmp_path / str(width), network=partial(fewstep.MLP, width=width))
    wrong = []

    def opens(width):
        for _ in range(4):
            try:
                fewstep.open_run(tmp_path / str(width))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=opens, args=(width,)) for width in (8, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Buggy(Net):
    def __call__(self, x, t):
        raise ValueError("a bug of mine")


def test_bugs_of_a_network_are_bugs(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"^a bug of mine") as error:
        train(tmp_path / "run", network=Buggy)
    assert not isinstance(error.value, fewstep.UsageError)
    train(tmp_path / "run", network=Net)
    (tmp_path / "buggy_nets.py").write_text(
        "from flax import nnx\n\n\nclass Net(nnx.Module):\n"
        "    def __init__(self, rngs):\n        raise ValueError('a bug of mine')\n"
    )
    config = tmp_path / "run/config.gin"
    config.write_text(read_config(config) + "network/given_in_python.path = 'buggy_nets:Net'\n")
    monkeypatch.chdir(tmp_path)
    for words in (("sample", "run", "--trust"), ("train", "run/config.gin", "--run", "run", "--trust")):
        assert command(monkeypatch, *words) == 1
        assert "Traceback" in capsys.readouterr().err


def command(monkeypatch, *words):
    """The exit status of the command line."""
    monkeypatch.setattr(sys, "argv", ["fewstep", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0
