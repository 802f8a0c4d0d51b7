"""The diffusion transformer against a longhand one in float64, its positions, and the names of all axes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_inputs import CALL, LABEL, T, normal, perturbed

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import MLP, DiT, UNet, abstract, axes, split
from fewstep.diffusion.networks.layers import EMBED, HIDDEN
from fewstep.diffusion.networks.positions import places, rotary, sincos

SMALL = {"classes": 3, "width": 16, "depth": 2, "heads": 2}


def dit(shape=(8, 4, 3), **options):
    return DiT(shape, **(SMALL | options), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def x():
    return normal((3, 8, 4, 3), 99)


def dense(params, x):
    return x @ np.float64(params["kernel"]) + np.float64(params["bias"])


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def attention(params, x, turn):
    """One head and one pair of tokens after the other."""
    n, width = x.shape
    qkv = dense(params["qkv"], x).reshape(n, 2, 3, width // 2)
    out = np.zeros((n, 2, width // 2))
    for head in range(2):
        q, k, v = (turn(qkv[:, head, i]) if i < 2 else qkv[:, head, i] for i in range(3))
        for i in range(n):
            weights = np.exp([q[i] @ k[j] / np.sqrt(width // 2) for j in range(n)])
            out[i, head] = sum(w * v[j] for j, w in enumerate(weights)) / weights.sum()
    return dense(params["out"], out.reshape(n, width))


def longhand(params, image, embedding, positions, columns_first):
    """DiT (arXiv:2212.09748, fig. 3, adaLN-zero) of one image, patch 2, two heads; embedding (width,)."""
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    tokens = [image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel() for i in range(rows) for j in range(columns)]
    places = [(i, j) for i in range(rows) for j in range(columns)]
    at = [place[::-1] if columns_first else place for place in places]
    h = dense(params["stem"], np.float64(tokens))
    width = h.shape[1]

    def turn(q):
        return q

    if positions == "sincos":
        waves = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
        h += [np.concatenate([f(axis * waves) for axis in place for f in (np.sin, np.cos)]) for place in at]
    else:
        size = width // 2
        waves = 100.0 ** -(np.arange(size // 4) / (size // 4))

        def turn(q):
            turned = []
            for row, (i, j) in zip(q, at, strict=True):
                z = (row[: size // 2] + 1j * row[size // 2 :]) * np.exp(1j * np.concatenate([i * waves, j * waves]))
                turned.append(np.concatenate([z.real, z.imag]))
            return np.array(turned)

    for k in range(2):
        block = params["blocks"][k]
        a, b, gate, c, d, other_gate = dense(block["modulation"]["dense"], embedding).reshape(width, 6).T
        h = h + gate * attention(block["attention"], normalised(h) * (1 + a) + b, turn)
        h = h + other_gate * dense(block["out"], gelu(dense(block["wide"], normalised(h) * (1 + c) + d)))
    scale, shift = dense(params["modulation"]["dense"], embedding).reshape(width, 2).T
    out = dense(params["head"], normalised(h) * (1 + scale) + shift)
    image = np.zeros_like(image, np.float64)
    for (i, j), patch in zip(places, out, strict=True):
        image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = patch.reshape(2, 2, 3)
    return image


@pytest.mark.parametrize(
    ("positions", "options"), [("sincos", {}), ("rotary", {}), ("sincos", {"columns_first": True, "waves": 32})]
)
def test_it_is_the_longhand_one(x, positions, options):
    module = dit(positions=positions, **options)
    apply, params = split(module)
    params = perturbed(params)
    module = nnx.merge(apply.graph, params)
    embeddings = np.float64(module.conditioning(3, T, None, LABEL))
    out = CALL(apply, params, x, T, None, Cond(LABEL))
    for image, embedding, found in zip(x, embeddings, out, strict=True):
        expected = longhand(params, image, embedding, positions, "columns_first" in options)
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


def test_it_starts_at_zero_and_every_block_at_the_identity(x):
    apply, params = split(dit())
    assert not np.any(CALL(apply, params, x, T, None, Cond(LABEL)))
    module = dit()
    h = jnp.asarray(normal((3, 8, 16)))
    np.testing.assert_array_equal(module.blocks[0](h, jnp.asarray(normal((3, 16)))), h)


@pytest.mark.slow
def test_options_that_change_no_values(x):
    params = perturbed(split(dit())[1])

    @partial(jax.jit, static_argnums=0)
    @partial(jax.value_and_grad, argnums=1)
    def loss(apply, params):
        return jnp.mean((apply(params, x, T, None, Cond(LABEL)) - 1) ** 2)

    plain = loss(split(dit())[0], params)
    for options, most in (({"remat": True}, 1e-5), ({"dtype": "bfloat16"}, 0.05)):
        changed = loss(split(dit(**options))[0], params)
        assert changed[1]["stem"]["kernel"].dtype == jnp.float32
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(changed), strict=True):
            assert np.linalg.norm(a - b) <= most * np.linalg.norm(a), options


def test_other_sizes_of_images_and_jumps():
    apply, params = split(dit(jumps=True))
    params, x = perturbed(params), normal((3, 4, 12, 3))
    none, zero, some = (CALL(apply, params, x, T, d, Cond(LABEL)) for d in (None, 0.0, T))
    assert none.shape == x.shape
    np.testing.assert_allclose(none, zero, atol=1e-5)
    assert np.abs(none - some).max() > 1e-3


@pytest.mark.parametrize("layers", [False, True])
def test_jumps_of_a_published_network_start_at_zero(x, layers):
    """A network that was trained without them begins to learn them as the same function."""
    options = {"waves": 32, "jump_layers": layers}
    apply, params = split(dit(**options))
    params = perturbed(params)
    jumping, fresh = split(dit(**options, jumps=True))
    conditioning = params["conditioning"] | {"jump": fresh["conditioning"]["jump"]}
    found = CALL(jumping, params | {"conditioning": conditioning}, x, T, T, Cond(LABEL))
    np.testing.assert_allclose(found, CALL(apply, params, x, T, None, Cond(LABEL)), atol=1e-6)


def test_rotary_products_depend_on_the_difference_of_places():
    turn = rotary(places((4, 6), (4, 6)), 8)
    q, k = (np.tile(normal((1, 1, 1, 8), seed), (1, 24, 1, 1)) for seed in (0, 1))
    products = np.einsum("ipd,iqd->pq", turn(q)[:, :, 0], turn(k)[:, :, 0]).reshape(4, 6, 4, 6)
    np.testing.assert_allclose(products[1, 2, 3, 5], products[0, 1, 2, 4], rtol=1e-4)
    np.testing.assert_allclose(products[1, 2, 0, 0], products[3, 5, 2, 3], rtol=1e-4)
    assert len(np.unique(products.round(4))) > 30
    np.testing.assert_allclose(np.linalg.norm(turn(q), axis=-1), np.linalg.norm(q, axis=-1), rtol=1e-5)


def test_every_place_has_its_own_sines():
    sines = sincos(places((5, 7), (5, 7)), 16)
    assert sines.shape == (35, 16)
    assert np.linalg.norm(sines[:, None] - sines[None], axis=-1)[~np.eye(35, dtype=bool)].min() > 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (8,)}, "use MLP"),
        ({"shape": (8, 6, 3), "patch": 4}, "patches of 4: 8x6 must be divisible"),
        ({"heads": 3}, "does not divide into 3 heads"),
        ({"heads": 8, "positions": "rotary"}, "multiple of 4 heads"),
        ({"positions": "learned"}, "'sincos' or 'rotary'"),
        ({"depth": 0}, "DiT.depth is a whole number"),
        ({"waves": 7}, "an even number of them: got 7"),
        ({"jump_layers": True}, "DiT.jump_layers needs waves"),
    ],
)
def test_what_cannot_be_built(options, words):
    with pytest.raises(ValueError, match=words):
        dit(**options)


def test_what_it_is_not_told(x):
    module = dit(classes=0)
    for told, word in (((0.1, Cond()), "jumps"), ((None, Cond(LABEL)), "label"), ((None, Cond(skip=x)), "skip")):
        with pytest.raises(ValueError, match=word):
            module(x, T, *told)


@pytest.mark.parametrize("kind", [DiT, UNet, MLP])
def test_the_axes_of_all_parameters_are_named(kind):
    shape = (2,) if kind is MLP else (8, 8, 1)

    def build():
        return kind(shape, classes=3, jumps=True, rngs=nnx.Rngs(0))

    names, (_, shapes) = axes(nnx.eval_shape(build)), abstract(build)
    assert jax.tree.structure(names) == jax.tree.structure(shapes)
    divided = 0
    for name, a in zip(jax.tree.leaves(names), jax.tree.leaves(shapes), strict=True):
        assert len(name) in (0, len(a.shape))
        assert set(name) <= {EMBED, HIDDEN, None}
        assert len([n for n in name if n]) == len({n for n in name if n})
        divided += a.size if set(name) - {None} else 0
    assert divided > 0.8 * sum(a.size for a in jax.tree.leaves(shapes))
