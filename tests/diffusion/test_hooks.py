"""What levers multiply inside the networks: nothing at neutral values, and by the published equations elsewhere."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_inputs import CALL, normal, perturbed

from fewstep.diffusion import VP, oracles
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.levers import clip_x0
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D, split
from fewstep.diffusion.networks.hooks import joined, lowpass, tempered
from fewstep.diffusion.networks.layers import SelfAttention
from fewstep.diffusion.networks.positions import places, rotary, sincos
from fewstep.train.experiment import Experiment
from fewstep.train.objectives import Denoising

NETWORKS = {
    "unet": partial(UNet, base=4, blocks=1, attention=(2,)),
    "unet2d": partial(UNet2D, channels=(4, 8), blocks=1, attention=(2,), groups=2, resampling="block"),
    "dit": partial(DiT, width=8, depth=2, heads=2, patch=1),
    "rotary": partial(DiT, width=8, depth=1, heads=2, patch=1, positions="rotary", remat=True),
    "mlp": partial(MLP, width=8, depth=1),
}
SKIPS = ["skip", "low", "backbone"]
UNETS = ["unet", "unet2d"]


def net(kind, **options):
    """Apply and parameters of a network trained on 4x4 images."""
    shape = (4,) if kind == "mlp" else (4, 4, 1)
    apply, params = split(NETWORKS[kind](shape, **options, rngs=nnx.Rngs(0)))
    return apply, perturbed(params)


def told(kind, **fields):
    """Cond of a batch of two with every field that the network hears, neutral unless given."""
    skips = dict.fromkeys(SKIPS, np.ones((2, 2), np.float32)) if kind in UNETS else {}
    neutral = Cond(attention=np.zeros(2, np.float32), **skips)
    return neutral._replace(**{name: np.float32(value) for name, value in fields.items()})


@pytest.mark.parametrize("kind", [*UNETS, "dit", "rotary"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_neutral_values_change_no_bit(kind, dtype):
    """At twice the size of training, where a power other than 0 would show."""
    apply, params = net(kind, dtype=dtype)
    x = normal((2, 8, 8, 1))
    plain, neutral = (CALL(apply, params, x, 0.3, None, cond) for cond in (Cond(), told(kind)))
    np.testing.assert_array_equal(plain, neutral)
    assert np.isfinite(plain).all()


@pytest.mark.parametrize(
    ("kind", "field"), [(k, f) for k in UNETS for f in SKIPS] + [(k, "attention") for k in (*UNETS, "dit")]
)
def test_every_image_has_its_own_factors(kind, field):
    apply, params = net(kind)
    x = normal((2, 8, 8, 1))
    values = [0.5, 1.0] if field == "attention" else [[0.5, 1.2], [1.4, 0.7]]
    plain, whole = (CALL(apply, params, x, 0.3, None, cond) for cond in (told(kind), told(kind, **{field: values})))
    for i in range(2):
        cond = jax.tree.map(lambda a, i=i: a[i : i + 1], told(kind, **{field: values}))
        (alone,) = CALL(apply, params, x[i : i + 1], 0.3, None, cond)
        np.testing.assert_allclose(alone, whole[i], atol=1e-5, rtol=1e-5)
        assert np.abs(whole[i] - plain[i]).max() > 1e-3


@pytest.mark.parametrize("field", SKIPS)
def test_first_column_is_the_innermost_level(field):
    """With nothing passed up from the lower level only the column of the outer level can matter."""
    apply, params = net("unet")
    params = params | {"grow": jax.tree.map(jnp.zeros_like, params["grow"])}
    ones, inner, outer = (
        CALL(apply, params, normal((2, 8, 8, 1)), 0.3, None, told("unet", **{field: [row, row]}))
        for row in ([1, 1], [0.5, 1], [1, 0.5])
    )
    np.testing.assert_array_equal(ones, inner)
    assert np.abs(ones - outer).max() > 1e-3


def filtered(x, low=1.0):
    """x (B, H, W, C) with the frequencies |k| <= 1 on both axes times low, in float64, by NumPy's FFT."""
    near = [np.abs(np.fft.fftfreq(n) * n) < 1.5 for n in x.shape[1:3]]
    box = np.outer(*near)[None, :, :, None]
    return np.fft.ifft2(np.where(box, low, 1) * np.fft.fft2(x, axes=(1, 2)), axes=(1, 2)).real


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 9), (3, 2), (2, 2), (1, 6), (1, 1)], ids=str)
def test_lowpass_is_the_fourier_mask(size):
    x = normal((2, *size, 3))
    low = lowpass(jnp.asarray(x))
    np.testing.assert_allclose(low, x - filtered(x, 0), atol=1e-6)
    np.testing.assert_allclose(lowpass(low), low, atol=1e-6)
    if max(size) <= 3:
        np.testing.assert_allclose(low, x, atol=1e-6)


def test_joined_is_freeu_longhand():
    """arXiv:2309.11497 eq. 4 and 6 to 8, one image after the other, with skip-tuning's factor."""
    h, skip = normal((2, 6, 5, 6)), normal((2, 6, 5, 4), 1)
    cond = Cond(skip=np.float32([[9, 0.8], [9, 1.1]]), low=np.float32([[9, 0.2], [9, 1.5]]))
    cond = cond._replace(backbone=np.float32([[9, 1.4], [9, 0.6]]))
    out = jax.jit(partial(joined, column=1))(h, skip, cond)
    for i in range(2):
        wide = np.concatenate([h[i, ..., :3] * cond.backbone[i, 1], h[i, ..., 3:]], axis=-1)
        passed = cond.skip[i, 1] * filtered(skip[i : i + 1], cond.low[i, 1])[0]
        np.testing.assert_allclose(out[i], np.concatenate([wide, passed], axis=-1), atol=2e-6)


def test_attention_is_the_longhand_softmax():
    module = SelfAttention(8, 2, tokens=4, dtype="float32", rngs=nnx.Rngs(0))
    x, powers = normal((2, 12, 8)), np.float32([0.5, 1])
    qkv = np.float64(module.qkv(x)).reshape(2, 12, 2, 3, 4)
    mixed = np.zeros((2, 12, 2, 4))
    for i, power in enumerate(powers):
        for head in range(2):
            q, k, v = (qkv[i, :, head, part] for part in range(3))
            weights = np.exp((np.log(12) / np.log(4)) ** power * q @ k.T / 2)
            mixed[i, :, head] = weights @ v / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(module(x, power=powers), module.out(mixed.reshape(2, 12, 8)), atol=2e-6)
    assert np.abs(module(x, power=powers) - module(x)).max() > 1e-3


@pytest.mark.parametrize("n", [256, 1024, 16384])
def test_power_one_half_keeps_the_share_of_entropy(n):
    """Gaussian logits of variance v have H = log n - v / 2, so H / log n = 1 - 1 / (2 log n0) for every n."""
    n0 = 256
    draws = np.random.default_rng(n).standard_normal((100, n))
    for power, share in ((0.5, 1 - 0.5 / np.log(n0)), (0, 1 - 0.5 / np.log(n))):
        factor = np.float64(tempered(jnp.ones((1, n, 1, 1)), np.float32([power]), n0)).ravel()
        weights = np.exp(factor * draws)
        weights /= weights.sum(1, keepdims=True)
        entropy = -(weights * np.log(weights)).sum(1).mean()
        np.testing.assert_allclose(entropy / np.log(n), share, atol=4e-3)


def test_as_many_tokens_as_in_training_and_one_have_no_factor():
    q, power = jnp.ones((2, 9, 1, 4)), np.float32([1, -1])
    assert tempered(q, power, 9) is q
    assert tempered(q, power, 1) is q
    np.testing.assert_array_equal(tempered(q[:, :1], power, 9), q[:, :1])
    assert tempered(q.astype(jnp.bfloat16), power, 4).dtype == jnp.bfloat16


def test_places_of_another_size_cover_the_same_image():
    same = np.stack(np.meshgrid(np.arange(5), np.arange(7), indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_array_equal(places((5, 7), (5, 7)), same)
    np.testing.assert_array_equal(sincos(places((5, 7), (5, 7)), 16), sincos(same, 16))
    q = normal((1, 35, 1, 8))
    np.testing.assert_array_equal(rotary(places((5, 7), (5, 7)), 8)(q), rotary(same, 8)(q))
    np.testing.assert_array_equal(places((1, 4), (1, 2))[:, 1], [-0.25, 0.25, 0.75, 1.25])
    np.testing.assert_array_equal(places((2, 1), (4, 1))[:, 0], [0.5, 2.5])
    # A patch of four fine tokens has its middle where the coarse one sits.
    fine = places((10, 14), (5, 7)).reshape(5, 2, 7, 2, 2)
    np.testing.assert_allclose(fine.mean((1, 3)).reshape(-1, 2), same, atol=1e-12)


@pytest.mark.parametrize("positions", ["sincos", "rotary"])
def test_a_coarse_image_on_a_finer_grid_has_nearly_the_coarse_answer(positions):
    """A DiT whose keys and values hardly differ within a patch answers each fine token nearly as the coarse one."""
    apply, params = net("dit" if positions == "sincos" else "rotary")
    x = np.cos(np.pi * (np.arange(4) + 0.5) / 4)[None, :, None, None] * np.ones((2, 1, 4, 1), np.float32)
    fine = CALL(apply, params, x.repeat(2, 1).repeat(2, 2), 0.3, None, Cond())
    coarse = CALL(apply, params, x, 0.3, None, Cond())
    pooled = fine.reshape(2, 4, 2, 4, 2, 1).mean((2, 4))
    assert np.linalg.norm(pooled - coarse) < 0.1 * np.linalg.norm(coarse)


@pytest.mark.parametrize(
    ("kind", "options", "field", "value", "words"),
    [("dit", {}, f, np.ones((2, 2)), f"a DiT has no skips: leave cond.{f} None") for f in SKIPS]
    + [("mlp", {}, f, np.ones((2, 2)), f"an MLP has no skips and no attention: leave cond.{f} None") for f in SKIPS]
    + [("unet", {}, f, np.ones((2, 3)), rf"cond.{f} has shape \(2, 3\): .* each of 2 levels") for f in SKIPS]
    + [("mlp", {}, "attention", np.ones(2), "no attention: leave cond.attention None")]
    + [("unet", {"attention": ()}, "attention", np.ones(2), "this U-Net has no attention: leave cond.attention None")],
)
def test_what_a_network_does_not_hear(kind, options, field, value, words):
    apply, params = net(kind, **options)
    x = normal((2, 4) if kind == "mlp" else (2, 4, 4, 1))
    with pytest.raises(ValueError, match=words) as raised:
        apply(params, x, 0.3, None, Cond()._replace(**{field: value}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "options", "levels", "attends"),
    [
        ("unet", {}, 2, True),
        ("unet", {"attention": (), "mult": (1, 1, 1)}, 3, False),
        ("unet2d", {}, 2, True),
        ("unet2d", {"attention": (), "middle_attention": False}, 2, False),
        ("dit", {}, 0, True),
        ("mlp", {}, 0, False),
    ],
)
def test_a_denoiser_tells_what_it_hears(kind, options, levels, attends):
    experiment = Experiment(list, partial(NETWORKS[kind], **options), Denoising(), optax.sgd)
    shape = (4,) if kind == "mlp" else (4, 4, 1)
    (model, shapes), (again, _) = (experiment.abstract(shape, 3) for _ in range(2))
    assert model == again
    assert hash(model) == hash(again)
    den = model.denoiser(shapes)
    for asked in (den, clip_x0()(den), den.under(VP())):
        assert (asked.levels, asked.attends) == (levels, attends)


def test_an_oracle_hears_nothing():
    den = oracles.gaussian(VP())
    assert (den.levels, den.attends) == (0, False)
