"""The networks: what they are told, what they ignore, and that equal builds never compile twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_inputs import CALL, LABEL, T, normal, perturbed

from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D, abstract, split
from fewstep.diffusion.networks.layers import dropout, group_norm

SMALL = {"base": 8, "blocks": 1}


def unet(**options):
    return UNet((8, 8, 1), **({"classes": 3, **SMALL} | options), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def net():
    apply, params = split(unet())
    return apply, perturbed(params)


@pytest.fixture(scope="module")
def x():
    return normal((3, 8, 8, 1), 99)


@pytest.mark.parametrize(
    ("shape", "mult"),
    [((8, 8, 1), (1, 2)), ((12, 8, 3), (1, 2)), ((16, 16, 1), (1, 2, 2))],
    ids=["8", "12x8", "3 levels"],
)
def test_output_has_the_shape_of_x_and_starts_at_zero(shape, mult):
    apply, params = split(UNet(shape, mult=mult, **SMALL, rngs=nnx.Rngs(0)))
    out = CALL(apply, params, normal((2, *shape)), 0.3, None, Cond())
    assert out.shape == (2, *shape)
    assert out.dtype == jnp.float32
    assert not out.any()
    assert np.any(CALL(apply, perturbed(params), normal((2, *shape)), 0.3, None, Cond()))


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same_with_float32_params(net, x):
    apply, params = split(unet(dtype="bfloat16"))
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    half = CALL(apply, net[1], x, T, None, Cond(LABEL))
    full = CALL(*net, x, T, None, Cond(LABEL))
    assert half.dtype == jnp.float32
    assert 0 < np.linalg.norm(half - full) < 0.05 * np.linalg.norm(full)


def test_skip_multipliers(net, x):
    plain, one, half = (
        CALL(*net, x, T, None, Cond(LABEL, skip))
        for skip in (None, np.ones((3, 2), np.float32), np.full((3, 2), 0.5, np.float32))
    )
    np.testing.assert_array_equal(plain, one)
    assert np.abs(plain - half).max() > 1e-3


def test_first_column_of_skip_is_the_innermost_level(net, x):
    """With nothing passed up from the lower level, its skips cannot matter, and only those of the outer level can."""
    apply, params = net
    params = params | {"grow": jax.tree.map(jnp.zeros_like, params["grow"])}
    ones, inner, outer = (
        CALL(apply, params, x, T, None, Cond(LABEL, np.tile(np.float32(row), (3, 1))))
        for row in ([1, 1], [0.5, 1], [1, 0.5])
    )
    np.testing.assert_array_equal(ones, inner)
    assert np.abs(ones - outer).max() > 1e-3


def test_labels_matter_and_none_is_the_null_class(net, x):
    none, null, label = (CALL(*net, x, T, None, Cond(c)) for c in (None, np.full(3, 3, np.int32), LABEL))
    np.testing.assert_allclose(none, null, atol=1e-5)
    assert np.all(np.abs(none - label).max((1, 2, 3)) > 1e-3)


def test_a_row_alone_is_the_row_of_the_batch(net, x):
    whole = CALL(*net, x, T, None, Cond(LABEL))
    alone = CALL(*net, x[1:2], T[1:2], None, Cond(LABEL[1:2]))
    np.testing.assert_allclose(alone, whole[1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["unet", "mlp"])
def test_jumps_none_is_zero_and_sizes_matter(kind):
    module = unet(jumps=True) if kind == "unet" else MLP((2,), classes=3, jumps=True, width=16, rngs=nnx.Rngs(0))
    apply, params = split(module)
    x = normal((3, 8, 8, 1) if kind == "unet" else (3, 2))
    none, zero, some = (CALL(apply, perturbed(params), x, T, d, Cond(LABEL)) for d in (None, 0.0, T))
    np.testing.assert_allclose(none, zero, atol=1e-5)
    assert np.abs(none - some).max() > 1e-3


@pytest.mark.slow
def test_dropout_only_with_a_key(x):
    apply, params = split(unet(dropout=0.5))
    params = perturbed(params)
    none, first, again, other = (
        CALL(apply, params, x, T, None, Cond(), key and jax.random.split(jax.random.key(key), 3))
        for key in (None, 1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - none).max() > 1e-3


@pytest.mark.slow
def test_what_is_dropped_depends_on_the_key_of_the_image_alone(x):
    apply, params = split(unet(dropout=0.5))
    params, keys = perturbed(params), jax.random.split(jax.random.key(1), 3)
    whole = CALL(apply, params, x, T, None, Cond(), keys)
    alone = CALL(apply, params, x[1:2], T[1:2], None, Cond(), keys[1:2])
    np.testing.assert_allclose(alone, whole[1:2], atol=1e-5, rtol=1e-5)


def test_dropout_keeps_the_mean_and_drops_the_share():
    ones = np.ones((4, 50, 50), np.float32)
    dropped = dropout(ones, 0.3, jax.random.split(jax.random.key(0), 4))
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.7)}
    np.testing.assert_allclose((dropped == 0).mean(), 0.3, atol=4 * (0.21 / ones.size) ** 0.5)
    assert dropout(ones, 0.3, None) is ones


def test_mlp_starts_at_zero():
    apply, params = split(MLP((2,), classes=3, width=16, rngs=nnx.Rngs(0)))
    out = CALL(apply, params, normal((3, 2)), T, None, Cond(LABEL))
    assert (out.shape, out.dtype) == ((3, 2), jnp.float32)
    assert not out.any()


def test_errors(x):
    with pytest.raises(ValueError, match=r"10.*divisible by 4"):
        UNet((10, 8, 1), mult=(1, 2, 2), rngs=nnx.Rngs(0))
    plain, points = unet(classes=0), MLP((2,), width=16, rngs=nnx.Rngs(0))
    for module, inputs in ((plain, x), (points, normal((3, 2)))):
        with pytest.raises(ValueError, match="jumps"):
            module(inputs, T, 0.1, Cond())
        with pytest.raises(ValueError, match="label"):
            module(inputs, T, None, Cond(LABEL))
    with pytest.raises(ValueError, match="skip"):
        points(normal((3, 2)), T, None, Cond(skip=np.ones((3, 2))))
    with pytest.raises(ValueError, match="skip"):
        plain(x, T, None, Cond(skip=np.ones((3, 3))))


@pytest.mark.slow
def test_equal_builds_are_equal_and_never_retrace():
    def build(seed):
        return MLP((2,), classes=3, width=16, rngs=nnx.Rngs(seed))

    traces = []

    def call(apply, params):
        traces.append(apply)
        return apply(params, jnp.ones((3, 2)), 0.5, None, Cond())

    (first, params), (second, others) = split(build(0)), split(build(1))
    third, shapes = abstract(lambda: build(2))
    assert first == second == third
    assert len({hash(a) for a in (first, second, third)}) == 1
    assert first != split(MLP((2,), classes=3, width=8, rngs=nnx.Rngs(0)))[0]
    assert jax.tree.map(lambda p: (p.shape, p.dtype), params) == jax.tree.map(lambda p: (p.shape, p.dtype), shapes)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))
    jitted = jax.jit(call, static_argnums=0)
    jitted(first, params), jitted(second, others), jitted(third, params)
    assert len(traces) == 1
    assert split(unet())[0] == abstract(unet)[0]


def test_group_norm_is_the_longhand_one():
    x, scale, shift = normal((2, 3, 4, 8)) * 2 + 1, normal((2, 8), 1), normal((2, 8), 2)
    grouped = x.astype(np.float64).reshape(2, 12, 4, 2)
    mean, var = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(group_norm(x, 4, scale, shift), expected, atol=1e-5)


def test_every_parameter_gets_a_finite_nonzero_gradient(net, x):
    apply, params = net

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: jnp.mean((apply(p, x, T, None, Cond(LABEL)) - 1) ** 2))(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


@pytest.mark.parametrize(
    ("network", "shape", "options", "width"),
    [
        pytest.param(UNet, (8, 8, 1), {"mult": (1, 2), **SMALL}, 16, marks=pytest.mark.slow),
        pytest.param(UNet2D, (8, 8, 1), {"channels": (8, 16), "blocks": 1, "groups": 4}, 16, marks=pytest.mark.slow),
        (DiT, (8, 8, 1), {"width": 16, "depth": 2, "heads": 2}, 16),
        (MLP, (2,), {"width": 12, "depth": 2}, 12),
    ],
)
def test_features_come_with_the_same_output(network, shape, options, width):
    apply, params = split(network(shape, **options, rngs=nnx.Rngs(0)))
    params, x = perturbed(params), normal((3, *shape))
    out, features = apply.with_features(params, x, 0.3, None, Cond())
    np.testing.assert_array_equal(out, apply(params, x, 0.3, None, Cond()))
    assert (features.shape, features.dtype) == ((3, width), jnp.float32)
    assert len(np.unique(np.asarray(features), axis=0)) == 3


def test_a_network_of_ones_own_may_have_no_features():
    class Plain(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(jnp.ones(()))

        def __call__(self, x, t, d, cond, key=None):
            return self.scale[...] * x

    class Halved(MLP):
        def __call__(self, x, t, d, cond, key=None):
            return super().__call__(x, t, d, cond, key) / 2

    for network in (Plain(), Halved((2,), width=8, depth=1, rngs=nnx.Rngs(0))):
        apply, params = split(network)
        params, x = perturbed(params), jnp.ones((1, 2))
        out, features = apply.with_features(params, x, 0.3, None, Cond())
        np.testing.assert_array_equal(out, apply(params, x, 0.3, None, Cond()))
        assert features is None
