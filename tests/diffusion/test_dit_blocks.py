"""The options of the blocks of a DiT, against an implementation in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import DiT, split
from fewstep.diffusion.networks.dit import Block, Style

WIDTH, HEADS, RATIO, TOKENS = 12, 3, 4, 5
STYLES = {
    "plain": Style(),
    "rms": Style(norm="rms"),
    "swiglu": Style(wide="swiglu"),
    "qk_norm": Style(qk_norm=True),
    "no biases": Style(biases=False),
    "all": Style("rms", "swiglu", True, False),
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


def longhand(p, x, embedding, style):
    """The block in float64, a head at a time."""

    def dense(layer, x):
        return x @ layer["kernel"] + layer.get("bias", 0.0)

    def modulated(x, scale, shift):
        x = x if style.norm == "rms" else x - x.mean(-1, keepdims=True)
        return scaled(x) * (1 + scale[:, None]) + shift[:, None]

    told = dense(p["modulation"]["dense"], embedding).reshape(len(x), WIDTH, 6)
    scale, shift, share = (told[..., i] for i in range(3))
    attention, size = p["attention"], WIDTH // HEADS
    qkv = dense(attention["qkv"], modulated(x, scale, shift)).reshape(len(x), TOKENS, HEADS, 3, size)
    mixed = np.zeros((len(x), TOKENS, HEADS, size))
    for head in range(HEADS):
        q, k, v = (qkv[:, :, head, i] for i in range(3))
        if style.qk_norm:
            q, k = (scaled(a, attention["norms"][i]["gain"]) for i, a in enumerate((q, k)))
        logits = np.einsum("bnc,bmc->bnm", q, k) / np.sqrt(size)
        weight = np.exp(logits - logits.max(-1, keepdims=True))
        mixed[:, :, head] = np.einsum("bnm,bmc->bnc", weight / weight.sum(-1, keepdims=True), v)
    x = x + share[:, None] * dense(attention["out"], mixed.reshape(x.shape))
    scale, shift, share = (told[..., i] for i in range(3, 6))
    h = modulated(x, scale, shift)
    h = silu(dense(p["gate"], h)) * dense(p["wide"], h) if style.wide == "swiglu" else gelu(dense(p["wide"], h))
    return x + share[:, None] * dense(p["out"], h)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_block_is_what_its_options_say(style):
    module = Block(WIDTH, HEADS, RATIO, TOKENS, style, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    graph, params, _ = nnx.split(module, nnx.Param, ...)
    params = perturbed(nnx.to_pure_dict(params))
    rng = np.random.default_rng(1)
    x, embedding = rng.standard_normal((2, TOKENS, WIDTH)), rng.standard_normal((2, WIDTH))
    with jax.default_matmul_precision("highest"):
        found = nnx.merge(graph, params)(jnp.float32(x), jnp.float32(embedding))
    np.testing.assert_allclose(found, longhand(params, x, embedding, style), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", ["all", "plain"])
def test_a_network_has_its_options(style):
    apply, params = split(
        DiT((8, 8, 1), 3, width=24, depth=2, heads=2, **STYLES[style]._asdict(), rngs=nnx.Rngs(0))
    )  # fmt: skip
    block = params["blocks"][0]
    assert ("gate" in block, "norms" in block["attention"], "bias" not in block["out"]) == 3 * (style == "all",)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    params, cond = perturbed(params), Cond(jnp.array([0, 3]))
    first, later = (apply(params, a, jnp.array([0.3, 0.7]), None, cond) for a in (x, 1.1 * x))
    assert first.shape == x.shape
    assert np.isfinite(first).all()
    assert abs(first - later).max() > 1e-3


def test_swiglu_has_as_many_parameters_as_gelu():
    sizes = []
    for wide in ("gelu", "swiglu"):
        made = nnx.eval_shape(lambda wide=wide: DiT((8, 8, 1), width=96, depth=1, heads=2, wide=wide, rngs=nnx.Rngs(0)))
        sizes.append(sum(a.size for a in jax.tree.leaves(split(made)[1])))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


@pytest.mark.parametrize("wrong", [{"norm": "batch"}, {"wide": "relu"}, {"positions": "learned"}])
def test_other_options_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"DiT.{name} is "):
        DiT((8, 8, 1), width=24, depth=1, heads=2, **wrong, rngs=nnx.Rngs(0))
