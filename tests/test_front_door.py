"""From a notebook: what Python users call, with nothing imported but fewstep, jax, flax, optax and numpy."""

import html
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import fewstep

RNG = np.random.default_rng(0)
POINTS = np.tanh(RNG.standard_normal((400, 2))).astype(np.float32)
LABELS = (POINTS[:, 0] > 0).astype(np.int32)
SHORT = {"steps": 6, "save_every": 3, "log_every": 2, "preview_every": 6, "batch_size": 16}


class Net(nnx.Module):
    """An own network of (x, t, label)."""

    def __init__(self, rngs):
        self.inner = nnx.Linear(4, 32, rngs=rngs)
        self.outer = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x, t, label):
        label = jnp.zeros(len(x)) if label is None else label.astype(jnp.float32)
        return self.outer(nnx.silu(self.inner(jnp.concatenate([x, t[:, None], label[:, None]], axis=1))))


def plain(params, x, t):
    return jnp.tanh(x @ params["in"] + t[:, None]) @ params["out"]


PARAMS = {"in": jnp.eye(2, 8), "out": jnp.zeros((8, 2))}


def test_an_own_network_is_trained_resumed_and_opened_again(tmp_path):
    options = {"data": (POINTS, LABELS), "network": Net, "optimizer": optax.adam(1e-3)}
    run = fewstep.train_run(tmp_path / "own", **options, **SHORT)
    drawn = run.draw("dpmpp_2m", nfe=4, seeds=range(5), label=1)
    assert drawn.shape == (5, 2)
    again = fewstep.open_run(tmp_path / "own", network=Net)
    np.testing.assert_array_equal(again.draw("dpmpp_2m", nfe=4, seeds=range(5), label=1), drawn)
    more = fewstep.train_run(tmp_path / "own", **options, **SHORT)  # finished: nothing changes
    assert more.step == 6
    result = fewstep.compare(run, nfe=[2, 4], samplers=["ddim"], count=30)
    assert {cell.budget for cell in result.cells} == {2, 4}


def test_a_plain_function_with_its_parameters_is_trained(tmp_path):
    run = fewstep.train_run(tmp_path / "plain", data=POINTS, network=plain, params=PARAMS, **SHORT)
    assert run.draw("ddim", nfe=2, seeds=range(3)).shape == (3, 2)
    assert np.abs(run.params["params"]["out"]).max() > 0
    opened = fewstep.open_run(tmp_path / "plain", network=plain, params=PARAMS)
    assert opened.weights == run.weights


@pytest.mark.slow
def test_what_no_config_can_name_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.train.data.kept.MOST_BYTES", 100)
    fewstep.train_run(tmp_path / "own", data=POINTS, network=Net, **SHORT)
    with pytest.raises(
        Exception, match=r"network of this run was given in Python.*open_run\(folder, network="
    ) as error:
        fewstep.open_run(tmp_path / "own")
    assert "\n" not in str(error.value)
    run = fewstep.open_run(tmp_path / "own", network=Net)
    with pytest.raises(Exception, match="data of this run was given in Python"):
        run.data  # noqa: B018


@pytest.mark.slow
def test_our_networks_are_named_in_the_config(tmp_path):
    from functools import partial

    run = fewstep.train_run(
        tmp_path / "mlp", data=POINTS, network=partial(fewstep.MLP, width=16), process=fewstep.VP(), **SHORT
    )
    opened = fewstep.open_run(tmp_path / "mlp")
    assert opened.model == run.model
    assert opened.weights == run.weights


def test_functions_are_denoisers():
    """By time, by noise level, and with a label: all three are the exact denoiser of one Gaussian."""
    process = fewstep.VE(sigma_max=20.0)
    exact = fewstep.oracles.gaussian(process, mean=0.2, std=0.5)

    def by_sigma(x, sigma):
        return 0.2 + (x - 0.2) * 0.25 / (0.25 + sigma[:, None] ** 2)

    def by_time(x, t, label):
        return exact(x, t).x0

    table = fewstep.table_at(fewstep.SAMPLERS["dpmpp_2m"], process, 6)
    wanted = fewstep.draw(exact, table, seeds=range(4), shape=(3,))
    for den in (fewstep.as_denoiser(by_sigma, process), fewstep.as_denoiser(by_time, process, classes=2)):
        cond = fewstep.Cond(jnp.zeros(4, jnp.int32)) if den.classes else fewstep.Cond()
        np.testing.assert_allclose(fewstep.draw(den, table, seeds=range(4), shape=(3,), cond=cond), wanted, atol=1e-4)
    hosted = fewstep.as_denoiser(lambda x, sigma: np.asarray(by_sigma(x, sigma)), process, framework="numpy")
    np.testing.assert_allclose(fewstep.draw(hosted, table, seeds=range(4), shape=(3,)), wanted, atol=1e-4)


def test_a_torch_module_is_a_denoiser():
    torch = pytest.importorskip("torch")
    process = fewstep.VE(sigma_max=20.0)

    class Gaussian(torch.nn.Module):
        def forward(self, x, sigma):
            assert x.shape[1:] == (3, 4, 5)  # channels first
            return 0.2 + (x - 0.2) * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)

    table = fewstep.table_at(fewstep.SAMPLERS["ddim"], process, 4)
    den = fewstep.as_denoiser(Gaussian(), process, framework="torch")
    wanted = fewstep.draw(fewstep.oracles.gaussian(process, mean=0.2, std=0.5), table, seeds=range(2), shape=(4, 5, 3))
    np.testing.assert_allclose(fewstep.draw(den, table, seeds=range(2), shape=(4, 5, 3)), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "options", "part"),
    [
        (lambda image, t: image, {}, "arguments are passed by name"),
        (lambda x, t, label: x, {}, "number of classes"),
        (lambda x, t: x, {"framework": "tf"}, "framework is one of"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(function, options, part):
    with pytest.raises(ValueError, match=part):
        fewstep.as_denoiser(function, fewstep.VP(), **options)


def test_denoisers_are_compared_by_own_samplers_too():
    def midway(process, grid):
        for t, s in fewstep.steps(grid):
            yield fewstep.Row(t, x0=process.alpha(s), eps=process.sigma(s))

    oracle = fewstep.oracles.gaussian(fewstep.VP(), mean=0.0, std=0.6)
    result = fewstep.compare(oracle, data=POINTS, samplers=["ddim", midway], nfe=[1, 3], count=40, metrics=["FD"])
    cells = {(cell.line, cell.budget): cell.metrics["FD-points"].value for cell in result.cells}
    assert cells["ddim", 3] == cells["midway", 3]
    assert "ddim" in result.tables()
    assert result.curve().startswith(b"<?xml")
    assert "<iframe" in result._repr_html_()
    with pytest.raises(ValueError, match="data=images"):
        fewstep.compare(oracle)


def test_images_made_elsewhere_stand_beside_a_denoiser(tmp_path):
    from PIL import Image

    images = RNG.integers(0, 256, (60, 6, 6, 1)).astype(np.uint8)
    (tmp_path / "theirs").mkdir()
    for i, image in enumerate(images[:20]):
        Image.fromarray(image[..., 0]).save(tmp_path / "theirs" / f"{i:02d}.png")
    oracle = fewstep.oracles.gaussian(fewstep.VP(), mean=0.0, std=0.5)
    options = {"data": images, "samplers": ["ddim"], "nfe": [1], "count": 20, "metrics": ["FD"]}
    result = fewstep.compare(oracle, images[:20], tmp_path / "theirs", **options)
    (rows,) = result.images.values()
    assert set(rows) == {"images", "theirs"}
    assert rows["images"] == rows["theirs"]
    held_out = fewstep.as_denoiser(lambda x, t: x, fewstep.VP())  # any: only its data are looked at
    data = fewstep.train.data.arrays(images)
    real = fewstep.evaluation.subject.Subject("real", held_out, data, tmp_path).data.held_out
    expected = fewstep.distances(images[:20], real[np.arange(len(real))].image, metrics=["FD"])
    assert rows["theirs"]["FD-pixels"].value == pytest.approx(expected["FD-pixels"].value)
    assert "theirs" in result.tables()
    assert ",theirs," in result.to_csv()
    assert type(result).from_json(result.to_json()).images == result.images
    assert '"theirs":[' in html.unescape(result._repr_html_())
    with pytest.raises(ValueError, match=r"images are 5x6x1, those of the runs 6x6x1"):
        fewstep.compare(oracle, images[:, :5], **options)
    with pytest.raises(ValueError, match="call distances"):
        fewstep.compare(images, images)


class Half(fewstep.Objective):
    """Half the squared error of the target."""

    def __call__(self, model, params, state, examples):
        x = fewstep.objectives.noisy(model, examples)
        raw, _ = model.outputs(params["net"], x, examples.t, cond=fewstep.Cond(examples.label), key=examples.key)
        return 0.5 * jnp.mean((raw - fewstep.objectives.target(model, examples)) ** 2), {}


def test_an_own_objective(tmp_path):
    run = fewstep.train_run(tmp_path / "half", data=POINTS, network=Net, objective=Half(), **SHORT)
    assert run.step == 6
    assert jax.tree.all(jax.tree.map(lambda a: np.isfinite(a).all(), run.params))


def test_distances_of_images_made_anywhere(tmp_path):
    from PIL import Image

    images = RNG.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    for i, image in enumerate(images[:20]):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    np.savez(tmp_path / "real.npz", images=images[20:])
    found = fewstep.distances(tmp_path, tmp_path / "real.npz")
    expected = fewstep.distances(images[:20] / np.float32(127.5) - 1, images[20:])
    assert dict(found) == dict(expected)
    assert found["FD-pixels"].low < found["FD-pixels"].value < found["FD-pixels"].high
    assert "<table>" in found._repr_html_()
    with pytest.raises(ValueError, match="different sizes"):
        fewstep.distances(images[:, :5], images)


def test_images_are_compared_from_the_command_line(tmp_path, monkeypatch, capsys):
    from fewstep.cli.main import main

    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=RNG.integers(0, 256, (20, 6, 6, 1)).astype(np.uint8))
    words = ["fewstep", "compare", "--images", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), "--metric", "FD,KID"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "KID-pixels" in capsys.readouterr().out
