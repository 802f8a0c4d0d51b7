"""The loop around networks: what they are asked, their gradients, their batches, and what their levers cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import on
from flax import nnx

from fewstep.diffusion import EPS, SCORE, VELOCITY, VP, X0, Cond, Denoiser, Linear, Model, V, cfg, clip_x0, edm, oracles
from fewstep.diffusion.networks import UNet, split
from fewstep.samplers import SAMPLERS, Row, ddim, draw, draw_many, euler, heun, log_snr, table_at, tabulate, uniform
from fewstep.samplers.cost import passes
from fewstep.samplers.exact import follow

KINDS = {"x0": X0, "eps": EPS, "v": V, "velocity": VELOCITY, "score": SCORE, "edm": edm(0.5)}


def linear(params, x, t, d, cond, key):
    """A network that any prediction may have."""
    return params * x


@pytest.mark.parametrize("kind", KINDS)
@on("linear")
def test_every_prediction_on_every_process_is_drawn_or_refused(kind, process):
    """Where sampling starts at alpha = 0, eps and score cannot say what x0 is; from below they can."""
    den = Denoiser.from_function(linear, jnp.float32(0.3), process, KINDS[kind])
    for name in ("ddim", "dpmpp_2m", "euler"):
        table = table_at(SAMPLERS[name], process, 4)
        if kind in ("eps", "score") and process.alpha(table.t[0]) == 0:
            with pytest.raises(ValueError, match=r"t = 1, where alpha = 0 .*log_snr"):
                draw(clip_x0()(den), table, [0], (2,))
            with pytest.raises(ValueError, match=r"t = 1, where alpha = 0"):  # also where another process is drawn
                draw(den.under(Linear()), table_at(SAMPLERS[name], Linear(), 4), [0], (2,))
            table = table_at(SAMPLERS[name], process, 4, log_snr)
        assert np.isfinite(draw(den, table, range(2), (2,))).all()


@pytest.fixture(scope="module")
def unet():
    """A small U-Net for digits whose output layers are not zero."""
    apply, params = split(UNet((8, 8, 1), 10, base=8, mult=(1, 2), blocks=1, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape).astype(np.float32), params)
    return Model(apply, Linear(), VELOCITY, 10).denoiser(params)


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("ddim", "ddpm")), "dpmpp_2m"]
)
def test_an_image_of_a_network_does_not_depend_on_its_batch(unet, name):
    table, label = table_at(SAMPLERS[name], unet.process, 8), np.arange(16, dtype=np.int32) % 10
    sixteen = np.asarray(draw(unet, table, range(16), (8, 8, 1), cond=Cond(label)))
    assert sixteen.std() > 0.1
    for i in (0, 7):
        one = draw(unet, table, [i], (8, 8, 1), cond=Cond(label[i : i + 1]))
        np.testing.assert_allclose(one[0], sixteen[i], atol=1e-5)


def test_labels_that_do_not_exist_are_refused(unet):
    table = table_at(SAMPLERS["ddim"], unet.process, 2)
    for label in (-1, 11):
        with pytest.raises(ValueError, match="10 classes"):
            draw(unet, table, [0], (8, 8, 1), cond=Cond(np.array([label], np.int32)))
    with pytest.raises(ValueError, match="0 classes"):
        draw(oracles.gaussian(Linear()), table, [0], (2,), cond=Cond(np.zeros(1, np.int32)))


def test_shapes_that_do_not_fit_are_refused(unet):
    table = table_at(SAMPLERS["ddim"], unet.process, 2)
    for run in (draw, draw_many):
        with pytest.raises(ValueError, match=r"cond.label is for \(1,\) images: there are 3 seeds"):
            run(unet, table, range(3), (8, 8, 1), cond=Cond(np.zeros(1, np.int32)))
        with pytest.raises(ValueError, match=r"start has shape \(3, 8, 8\)"):
            run(unet, table, range(3), (8, 8, 1), start=np.zeros((3, 8, 8)))


def test_gradients_pass_through_a_trajectory():
    """Of the data's mean, through a step without noise and one whose noise depends on the prediction."""
    process = VP()
    table = tabulate([Row(0.9, x=0.5, x0=0.4), Row(0.5, x=0.5, x0=0.4, spread=0.3)])

    def end(mean):
        return draw(oracles.gaussian(process, mean, 0.5), table, range(4), (3,), trajectory=True)[0].sum()

    got, step = jax.grad(end)(0.2), 1e-2
    np.testing.assert_allclose(got, (end(0.2 + step) - end(0.2 - step)) / (2 * step), rtol=1e-3)


def test_float64_under_x64():
    process = VP()
    den, start = oracles.mixture(process, np.array([-1.0, 0.8]), [0.3, 0.4]), np.array([[0.3], [-0.8]])
    table = tabulate(ddim(process, uniform(process, 6)))
    single = draw(den, table, range(2), (1,), start=start)
    with jax.enable_x64(True):
        double = np.asarray(draw(den, table, range(2), (1,), start=start))
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, follow(table, den, start), rtol=1e-12)
    assert np.abs(double - single).max() > 1e-9


@pytest.mark.parametrize(
    ("wrap", "factor"),
    [
        (lambda den: den, 1),
        (clip_x0(), 1),
        (cfg(2.0), 2),
        (lambda den: clip_x0()(cfg(2.0)(den)), 2),
        (lambda den: cfg(2.0)(cfg(1.5)(den)), 4),
        (lambda den: cfg(2.0)(den).under(VP()), 2),
    ],
    ids=["plain", "clip", "cfg", "clip of cfg", "cfg of cfg", "cfg under VP"],
)
def test_passes_are_counted(unet, wrap, factor):
    den = wrap(unet)
    for sampler, steps, rows in ((ddim, 6, 6), (euler, 3, 3), (heun, 4, 8 if den.process == VP() else 7)):
        table = tabulate(sampler(den.process, uniform(den.process, steps)))
        assert passes(den, table, (8, 8, 1)) == rows * factor
