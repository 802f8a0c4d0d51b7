"""UNet2D: the parts of published U-Nets, each against a longhand version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from refused import message
from small_inputs import CALL, LABEL, T, normal, perturbed

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import UNet2D, split
from fewstep.diffusion.networks.resnet import doubled, halved
from fewstep.diffusion.networks.time_class import Waves

SMALL = {"channels": (8, 16), "blocks": 1, "attention": (4,), "groups": 4}


def unet(shape=(8, 8, 1), **options):
    return UNet2D(shape, **({"classes": 3} | SMALL | options), rngs=nnx.Rngs(0))


def test_waves_are_those_of_the_papers():
    t = np.array([0.0, 3.0, 999.0], np.float32)
    for order, shift in (("sin_cos", 1), ("cos_sin", 0)):
        waves = Waves(8, order, shift)
        exponents = np.arange(4) / (4 - shift)
        angles = t[:, None] * 10_000.0**-exponents
        parts = [np.sin(angles), np.cos(angles)]
        wanted = np.concatenate(parts if order == "sin_cos" else parts[::-1], axis=1)
        np.testing.assert_allclose(waves(t, waves.frequencies), wanted, atol=1e-4)


@pytest.mark.parametrize(("count", "shift"), [(3, 0), (0, 0), (2, 1)])
def test_waves_without_a_frequency_are_refused(count, shift):
    assert f"got {count}" in message(lambda: Waves(count, shift=shift))
    assert np.isfinite(Waves(4, shift=1).frequencies).all()


def test_blurs_are_those_of_four_taps():
    x, taps = np.asarray(normal((1, 4, 6, 1))), np.array([1, 3, 3, 1]) / 8
    padded = np.pad(x[0, :, :, 0], 1)
    wanted = [
        [(padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] * np.outer(taps, taps)).sum() for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(halved(x, "blur")[0, :, :, 0], wanted, atol=1e-5)
    small, large = normal((1, 2, 3, 1), 1), x
    transpose = np.vdot(doubled(small, "blur"), large), 4 * np.vdot(small, halved(large, "blur"))
    np.testing.assert_allclose(*transpose, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"resampling": "block", "modulation": "scale_shift", "filter": "blur", "aux": True, "residual": 0.5**0.5}],
    ids=["plain", "ncsnpp"],
)
def test_output_has_the_shape_of_x_and_starts_at_zero(options):
    apply, params = split(unet((8, 12, 3), variance=True, **options))
    x = normal((2, 8, 12, 3))
    out = CALL(apply, params, x, 3.0, None, Cond())
    assert out.shape == (2, 8, 12, 6)
    assert out.dtype == jnp.float32
    assert not out.any()
    out = CALL(apply, perturbed(params), normal((2, 16, 16, 3)), 3.0, None, Cond())
    assert np.abs(out).min(axis=(1, 2)).all()


@pytest.mark.parametrize("label", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_labels_and_the_null_class(label):
    x = normal((3, 8, 8, 1))
    apply, params = split(unet(label=label))
    params = perturbed(params)
    none, null, some = (CALL(apply, params, x, T, None, Cond(c)) for c in (None, np.full(3, 3, np.int32), LABEL))
    np.testing.assert_allclose(none, null, atol=1e-5)
    assert np.all(np.abs(none - some).max((1, 2, 3)) > 1e-3)


def test_a_network_without_a_null_class():
    x = normal((3, 8, 8, 1))
    apply, params = split(unet(null=False))
    assert params["conditioning"]["label"]["embedding"].shape[0] == 3
    assert "without a null class" in message(lambda: apply(params, x, T, None, Cond()))


@pytest.mark.slow
def test_random_frequencies_are_not_trained():
    apply, params = split(unet(order="fourier"))
    x = normal((3, 8, 8, 1))
    slopes = jax.grad(lambda p: jnp.sum(apply(p, x, T, None, Cond(LABEL)) ** 2))(perturbed(params))
    assert not slopes["conditioning"]["frequencies"].any()
    flat = jax.tree_util.tree_leaves_with_path(slopes)
    still = [jax.tree_util.keystr(path) for path, slope in flat if not np.any(slope)]
    assert still == ["['conditioning']['frequencies']"]


@pytest.mark.slow
def test_jumps_start_at_zero():
    x = normal((3, 8, 8, 1))
    apply, params = split(unet(jumps=True))
    for changed, moves in ((params, False), (perturbed(params), True)):
        changed = changed | {"head": perturbed(params["head"])}
        none, some = (CALL(apply, changed, x, T, d, Cond(LABEL)) for d in (None, T))
        assert (np.abs(none - some).max() > 1e-4) == moves


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": (8, 18)}, "18 channels do not divide into 4 groups"),
        ({"heads": 3}, "16 channels do not divide into 3 heads"),
        ({"channels": ()}, "a level for each entry of channels"),
        ({"modulation": "times"}, "UNet2D.modulation is 'add' or 'scale_shift'"),
    ],
)
def test_what_cannot_be(options, words):
    assert words in message(lambda: unet(**options))
