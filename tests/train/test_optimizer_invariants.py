"""What must be true of the updates of each optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fewstep.diffusion.networks import DiT, UNet, fused_heads, split
from fewstep.train.optimizers import OPTIMIZERS, amos, constant_rate, lion, muon, tiger
from fewstep.train.optimizers.chain import chained, train_only
from fewstep.train.optimizers.muon import orthogonalized

STEADY = {"warmup": 0, "schedule": constant_rate, "clip": 1e6}
NAN = float("nan")


def tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (6, 4), "zero": {"kernel": (4, 4)}, "bias": (4,), "scale": (4,), "embedding": (5, 4)}
    made = jax.tree.map(
        lambda shape: jnp.asarray(scale * rng.standard_normal(shape), jnp.float32),
        shapes, is_leaf=lambda a: isinstance(a, tuple),
    )  # fmt: skip
    return {"net": made}


def params():
    made = tree(0, 0.1)
    made["net"]["zero"]["kernel"] = jnp.zeros((4, 4))
    return made


def stepped(optimizer, start, grads):
    """The parameters after each of the gradients, and the last state."""
    state, found = optimizer.init(start), []
    for of_step in grads:
        updates, state = jax.jit(optimizer.update)(of_step, state, start)
        start = optax.apply_updates(start, updates)
        found.append(start)
    return found, state


def equal(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_first_step_moves_all_parameters(name):
    """Also the kernels that are zero at initialization, in a long warm-up."""
    found, _ = stepped(OPTIMIZERS[name](1000, warmup=100, lr=1e-2), params(), [tree(1)])
    assert all((a != b).all() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params()), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spectral", [0.0, 0.1])
def test_only_a_part_moves(name, spectral):
    """As for objectives that train a part of the network."""
    optimizer = train_only(OPTIMIZERS[name](10, spectral_decay=spectral), "zero")
    (found,), _ = stepped(optimizer, params(), [tree(1)])
    moved, before = found["net"].pop("zero"), params()["net"]
    assert (moved["kernel"] != before.pop("zero")["kernel"]).all()
    assert equal(found["net"], before)


def test_clipping_says_what_it_removes():
    optimizer = OPTIMIZERS["adamw"](10, clip=2.0)
    norms = jnp.array([0.0, 1.0, 2.0, 4.0, 200.0])
    np.testing.assert_allclose(optimizer.removed(norms), [0, 0, 0, 0.5, 0.99])
    clipped, plain = (chained(optax.identity(), lambda count: 1.0, clip) for clip in (2.0, 1e6))
    grads = tree(1)
    norm = optax.tree.norm(grads)
    for optimizer in (clipped, plain):
        (found,), _ = stepped(optimizer, params(), [grads])
        moved = optax.tree.norm(jax.tree.map(jnp.subtract, found, params()))
        np.testing.assert_allclose(moved, norm * (1 - optimizer.removed(norm)), rtol=1e-5)


def test_tiger_is_lion_with_equal_betas():
    """Where its scales are those of Lion: least_rms = 1 is above the RMS of all kernels, and biases move by half."""
    grads = [tree(k) for k in range(1, 8)]
    found, _ = stepped(tiger(20, lr=0.01, b=0.9, weight_decay=0.0, least_rms=1.0, **STEADY), params(), grads)
    expected, _ = stepped(lion(20, lr=0.01, b1=0.9, b2=0.9, **STEADY), params(), grads)
    for name, a in found[-1]["net"].items():
        factor = 0.5 if name in ("bias", "scale") else 1
        before, other = params()["net"][name], expected[-1]["net"][name]
        jax.tree.map(
            lambda a, b, c, factor=factor: np.testing.assert_allclose(a - b, factor * (c - b), atol=1e-7),
            a, before, other,
        )  # fmt: skip


def test_tiger_adds_up_micro_batches_without_a_buffer():
    grads = [tree(k) for k in range(12)]
    means = [jax.tree.map(lambda *parts: sum(parts) / 4, *grads[k : k + 4]) for k in (0, 4, 8)]
    whole, state = stepped(tiger(20, **STEADY), params(), means)
    parts, other = stepped(tiger(20, accumulate=4, **STEADY), params(), grads)
    assert all(equal(a, b) for a, b in zip(parts, [params()] * 3 + [parts[3]] * 4 + [parts[7]] * 4, strict=False))
    for a, b in zip(parts[3::4], whole, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), a, b)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, other)


def test_tiger_shrinks_only_what_has_no_finite_gradient():
    """Towards 1 for gains and 0 for others; its average stays, and the other parameters move as without it."""
    grads = [tree(1), tree(2)]
    bad = jax.tree.map(lambda a: a, grads[1])
    bad["net"]["kernel"] = bad["net"]["kernel"].at[1, 2].set(NAN)
    bad["net"]["scale"] = bad["net"]["scale"].at[0].set(float("inf"))
    optimizer = tiger(20, **STEADY)
    (before, found), state = stepped(optimizer, params(), [grads[0], bad])
    (_, expected), usual = stepped(optimizer, params(), grads)
    _, first = stepped(optimizer, params(), grads[:1])
    np.testing.assert_allclose(found["net"]["kernel"], 0.99 * before["net"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(found["net"]["scale"] - 1, 0.99 * (before["net"]["scale"] - 1), rtol=1e-5)
    for name in ("zero", "bias", "embedding"):
        assert equal(found["net"][name], expected["net"][name])
        assert equal(state[1].mu["net"][name], usual[1].mu["net"][name])
    for name in ("kernel", "scale"):
        assert equal(state[1].mu["net"][name], first[1].mu["net"][name])


@pytest.mark.parametrize("shape", [(8, 8), (24, 5), (5, 24), (3, 3, 6, 10)])
def test_muon_orthogonalizes(shape):
    """Singular values of a well-conditioned matrix become nearly 1 and its singular vectors stay."""
    rng = np.random.default_rng(0)
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    u, _, v = np.linalg.svd(rng.standard_normal((rows, columns)), full_matrices=False)
    sigma = np.linspace(1, 4, min(rows, columns))
    out = orthogonalized(jnp.asarray((u * sigma) @ v, jnp.float32).reshape(shape)).reshape(rows, columns)
    out = np.asarray(out) / (0.2 * np.sqrt(max(rows, columns)))
    inner = u.T @ out @ v.T
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-5
    assert 0.65 < np.diag(inner).min() <= np.diag(inner).max() < 1.25


def test_muon_splits_fused_kernels():
    """Queries, keys and values are matrices of their own: each scaled to the same singular values."""
    rng, heads, size = np.random.default_rng(0), 2, 4
    kernel = rng.standard_normal((8, heads, 3, size)) * np.array([1.0, 100.0, 0.01])[:, None]
    out = np.asarray(orthogonalized(jnp.asarray(kernel.reshape(8, -1), jnp.float32), heads=heads))
    for part in range(3):
        own = np.asarray(orthogonalized(jnp.asarray(kernel[:, :, part].reshape(8, -1), jnp.float32)))
        np.testing.assert_allclose(out.reshape(kernel.shape)[:, :, part].reshape(8, -1), own, atol=1e-5)


@pytest.mark.parametrize("network", ["UNet", "DiT"])
def test_muon_is_for_hidden_kernels(network):
    def build():
        if network == "DiT":
            return DiT((8, 8, 1), 10, width=32, depth=2, heads=4, rngs=nnx.Rngs(0))
        return UNet((8, 8, 1), 10, base=8, mult=(1, 2), blocks=1, rngs=nnx.Rngs(0))

    heads = fused_heads(nnx.eval_shape(build))
    assert set(heads.values()) == ({4} if network == "DiT" else {1})
    assert all(name.endswith("qkv.kernel") for name in heads)
    shapes = {"net": jax.eval_shape(lambda: split(build())[1])}
    state = jax.eval_shape(muon(10, heads=heads).init, shapes)
    momenta = jax.tree.leaves_with_path(optax.tree.get(state, "trace"))
    hidden = {jax.tree_util.keystr(path[1:], simple=True, separator=".") for path, _ in momenta}
    assert {*heads} < hidden
    leaves = {
        jax.tree_util.keystr(path[1:], simple=True, separator="."): a.ndim
        for path, a in jax.tree.leaves_with_path(shapes)
    }
    outer = {name for name in leaves if name.split(".")[0] in ("stem", "head", "conditioning")}
    assert hidden == {name for name, axes in leaves.items() if axes > 1} - outer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_spectral_decay_removes_only_the_top_direction(name):
    """Without gradients, the largest singular value falls by the rate times the strength; the others stay."""
    rng = np.random.default_rng(0)
    u, _, v = np.linalg.svd(rng.standard_normal((6, 4)), full_matrices=False)
    kernel = jnp.asarray((u * [4.0, 2.0, 1.0, 0.5]) @ v, jnp.float32)
    start = {"net": {"kernel": kernel, "bias": jnp.ones(4)}}
    options = {"weight_decay": 0.0} if name == "tiger" else {}
    optimizer = OPTIMIZERS[name](100, lr=0.5, spectral_decay=0.1, **STEADY, **options)
    found, _ = stepped(optimizer, start, [jax.tree.map(jnp.zeros_like, start)] * 5)
    sigma = np.linalg.svd(np.asarray(found[-1]["net"]["kernel"]), compute_uv=False)
    np.testing.assert_allclose(sigma, [4 * 0.95**5, 2, 1, 0.5], rtol=1e-4)
    assert (found[-1]["net"]["bias"] == 1).all()


def test_amos_forgets_the_start_and_slows_down_by_itself():
    """Two starts under the same gradients of size 1, where r mean(g^2) = 1: their difference falls by 1 - d gamma / 2
    per step, and the steps get shorter, by the recursion of its decay b."""
    grads = [jax.tree.map(jnp.sign, tree(k)) for k in range(60)]
    one, two = params(), jax.tree.map(lambda a: a + 1, params())
    optimizer = amos(100, lr=0.5, b1=0.0, **STEADY)
    (*_, first), _ = stepped(optimizer, one, grads)
    (*_, second), state = stepped(optimizer, two, grads)
    for name, eta in (("kernel", 6**-0.5), ("bias", 0.5), ("scale", 1.0), ("embedding", 1.0)):
        b, left = 0.0, 1.0
        for _ in grads:
            gamma = 0.25 / np.sqrt(1 + 0.25 * np.sqrt(0.5) * b)
            left *= 1 - gamma / 2 / (1 + 0.25 * np.sqrt(0.5 * eta) * b)
            b += gamma * (1 + b)
        np.testing.assert_allclose(second["net"][name] - first["net"][name], left, rtol=1e-3)
        np.testing.assert_allclose(optax.tree.get(state, "b")["net"][name], b, rtol=1e-4)
