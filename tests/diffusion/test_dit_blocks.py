"""The options of the blocks of a DiT, against an implementation in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import DiT, split
from fewstep.diffusion.networks.dit_blocks import BLOCKS, Style

WIDTH, HEADS, RATIO, TOKENS = 12, 3, 4, 5
DEPTH = 4
STYLES = {
    "plain": ("attention", Style(2)),
    "rms": ("attention", Style(2, norm="rms")),
    "swiglu": ("attention", Style(2, wide="swiglu")),
    "qk_norm": ("attention", Style(2, qk_norm=True)),
    "no biases": ("attention", Style(2, biases=False)),
    "all": ("attention", Style(2, "rms", "swiglu", True, False)),
    "gau": ("gau", Style(2)),
    "gau without biases": ("gau", Style(2, norm="rms", biases=False)),
    "deepnet": ("deepnet", Style(DEPTH)),
    "deepnet with all": ("deepnet", Style(DEPTH, "rms", "swiglu", True, False)),
}


def perturbed(params, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: np.float32(a + 0.3 * rng.standard_normal(a.shape)), params)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def scaled(x, gain=1.0):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gain


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def attended(q, k, v):
    logits = np.einsum("bnc,bmc->bnm", q, k) / np.sqrt(q.shape[-1])
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bnm,bmc->bnc", weight / weight.sum(-1, keepdims=True), v)


def gated(p, x):
    shared = silu(dense(p["shared"], x))
    q, k = (shared * p[name]["gain"] + p[name]["bias"] for name in ("query", "key"))
    return dense(p["out"], silu(dense(p["gate"], x)) * attended(q, k, silu(dense(p["value"], x))))


def longhand(p, x, embedding, unit, style):
    """The block in float64, a head at a time."""

    def modulated(x, scale, shift):
        x = x if style.norm == "rms" else x - x.mean(-1, keepdims=True)
        return scaled(x) * (1 + scale[:, None]) + shift[:, None]

    def attention(x):
        layers, size = p["attention"], WIDTH // HEADS
        qkv = dense(layers["qkv"], x).reshape(len(x), TOKENS, HEADS, 3, size)
        mixed = np.zeros((len(x), TOKENS, HEADS, size))
        for head in range(HEADS):
            q, k, v = (qkv[:, :, head, i] for i in range(3))
            if style.qk_norm:
                q, k = (scaled(a, layers["norms"][i]["gain"]) for i, a in enumerate((q, k)))
            mixed[:, :, head] = attended(q, k, v)
        return dense(layers["out"], mixed.reshape(x.shape))

    def wide(h):
        h = silu(dense(p["gate"], h)) * dense(p["wide"], h) if style.wide == "swiglu" else gelu(dense(p["wide"], h))
        return dense(p["out"], h)

    vectors = np.moveaxis(dense(p["modulation"]["dense"], embedding).reshape(len(x), WIDTH, -1), -1, 0)
    if unit == "deepnet":
        alpha = (2 * DEPTH) ** 0.25
        x = modulated(alpha * x + attention(x), *vectors[:2])
        return modulated(alpha * x + wide(x), *vectors[2:])
    first, second = (attention, wide) if unit == "attention" else (partial(gated, p["units"][i]) for i in (0, 1))
    x = x + vectors[2][:, None] * first(modulated(x, *vectors[:2]))
    return x + vectors[5][:, None] * second(modulated(x, *vectors[3:5]))


def made(unit, style):
    return BLOCKS[unit](WIDTH, HEADS, RATIO, TOKENS, style, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(("unit", "style"), STYLES.values(), ids=STYLES)
def test_a_block_is_what_its_options_say(unit, style):
    module = made(unit, style)
    graph, params, _ = nnx.split(module, nnx.Param, ...)
    params = perturbed(nnx.to_pure_dict(params))
    rng = np.random.default_rng(1)
    x, embedding = rng.standard_normal((2, TOKENS, WIDTH)), rng.standard_normal((2, WIDTH))
    with jax.default_matmul_precision("highest"):
        found = nnx.merge(graph, params)(jnp.float32(x), jnp.float32(embedding))
    np.testing.assert_allclose(found, longhand(params, x, embedding, unit, style), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_the_blocks_of_a_network_know_its_depth(depth):
    options = {"width": 8, "heads": 1, "patch": 4, "depth": depth, "remat": True, "dtype": "bfloat16"}
    network = DiT((8, 8, 1), unit="deepnet", **options, rngs=nnx.Rngs(0))
    assert [block.alpha for block in network.blocks] == depth * [(2 * depth) ** 0.25]
    assert np.isfinite(network(jnp.ones((2, 8, 8, 1)), 0.3, None, Cond())).all()


@pytest.mark.parametrize("style", ["all", pytest.param("plain", marks=pytest.mark.slow)])
def test_a_network_has_its_options(style):
    apply, params = split(
        DiT((8, 8, 1), 3, width=24, heads=2, unit=STYLES[style][0], **STYLES[style][1]._asdict(), rngs=nnx.Rngs(0))
    )  # fmt: skip
    block = params["blocks"][0]
    assert ("gate" in block, "norms" in block["attention"], "bias" not in block["out"]) == 3 * (style == "all",)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    params, cond = perturbed(params), Cond(jnp.array([0, 3]))
    first, later = (apply(params, a, jnp.array([0.3, 0.7]), None, cond) for a in (x, 1.1 * x))
    assert first.shape == x.shape
    assert np.isfinite(first).all()
    assert abs(first - later).max() > 1e-3


def test_the_initial_weights_of_deep_stacks():
    """Those of the plain block, times (8 depth)^(-1/4) but for queries and keys."""
    for style in (Style(DEPTH), Style(DEPTH, wide="swiglu")):
        plain, deep = (nnx.to_pure_dict(nnx.state(made(unit, style), nnx.Param)) for unit in ("attention", "deepnet"))
        beta = (8 * DEPTH) ** -0.25
        for layer in ("wide", "out", *(["gate"] if style.wide == "swiglu" else [])):
            np.testing.assert_allclose(deep[layer]["kernel"], beta * plain[layer]["kernel"], rtol=1e-6)
        was, now = plain["attention"], deep["attention"]
        np.testing.assert_allclose(now["out"]["kernel"], beta * was["out"]["kernel"], rtol=1e-6)
        was, now = (one["qkv"]["kernel"].reshape(WIDTH, HEADS, 3, -1) for one in (was, now))
        np.testing.assert_array_equal(now[:, :, :2], was[:, :, :2])
        np.testing.assert_allclose(now[:, :, 2], beta * was[:, :, 2], rtol=1e-6)


@pytest.mark.parametrize("options", [{"wide": "swiglu"}, {"unit": "gau"}])
def test_kinds_of_blocks_have_as_many_parameters(options):
    sizes = []
    for changed in ({}, options):
        options = {"width": 96, "depth": 1, "heads": 8, **changed}
        made = nnx.eval_shape(lambda options=options: DiT((8, 8, 1), **options, rngs=nnx.Rngs(0)))
        sizes.append(sum(a.size for a in jax.tree.leaves(split(made)[1])))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.015)


@pytest.mark.slow
def test_rotary_positions_turn_queries_and_keys_of_gated_units():
    """Without positions the first tokens would not see that others have changed places."""
    apply, params = split(
        DiT((8, 8, 1), width=16, depth=1, heads=2, unit="gau", positions="rotary", rngs=nnx.Rngs(0))
    )  # fmt: skip
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 8, 8, 1)), jnp.float32)
    params = perturbed(params)
    found = apply(params, x, 0.3, None, Cond())
    moved = apply(params, jnp.concatenate([x[:, :4], x[:, 6:], x[:, 4:6]], axis=1), 0.3, None, Cond())
    assert abs(found[:, :4] - moved[:, :4]).max() > 1e-4


def test_gated_units_have_no_wide_layer():
    with pytest.raises(ValueError, match=r"DiT.unit = 'gau' has neither a wide layer nor qk_norm"):
        DiT((8, 8, 1), width=24, depth=1, heads=2, unit="gau", qk_norm=True, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("wrong", [{"unit": "mixer"}, {"norm": "batch"}, {"wide": "relu"}, {"positions": "learned"}])
def test_other_options_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"DiT.{name} is "):
        DiT((8, 8, 1), width=24, depth=1, heads=2, **wrong, rngs=nnx.Rngs(0))
