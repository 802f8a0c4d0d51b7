"""Every optimizer against an implementation in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_optimizers as longhand
import optax
import pytest

from fewstep.train.optimizers import OPTIMIZERS, adamw, amos, cosine_decay, lion, muon, tiger

STEPS, WARMUP, HEADS = 20, 5, 2
QKV = "blocks.0.attention.qkv.kernel"
SHAPES = {
    QKV: (8, 24), "blocks.0.attention.out.kernel": (8, 8), "blocks.0.attention.out.bias": (8,),
    "down.0.conv.kernel": (3, 3, 4, 6), "down.0.last.kernel": (3, 3, 6, 6), "down.0.norm.scale": (6,),
    "stem.kernel": (5, 8), "head.kernel": (8, 5), "head.bias": (5,), "conditioning.label.embedding": (7, 8),
}  # fmt: skip


def nested(flat):
    """{"net": ...} of {"a.b": array}."""
    tree = {}
    for name, a in flat.items():
        *folders, last = ("net", *name.split("."))
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = jnp.asarray(a, jnp.float32)
    return tree


def flat(tree):
    return {
        jax.tree_util.keystr(path[1:], simple=True, separator="."): np.asarray(a, np.float64)
        for path, a in jax.tree.leaves_with_path(tree)
    }


def random_tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: np.float64(np.float32(scale * rng.standard_normal(shape))) for name, shape in SHAPES.items()}


def start(seed=0):
    """Parameters, one kernel of them below the least scale of Tiger."""
    params = random_tree(seed, 0.3)
    return params | {"down.0.last.kernel": np.float64(np.float32(0.03 * params["down.0.last.kernel"]))}


def stepped(optimizer, params, grads):
    """The parameters after a step for each of the gradients."""
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for of_step in grads:
        updates, state = update(of_step, state, params)
        params = optax.apply_updates(params, updates)
    return params


def stepping(optimizer, flat_params, flat_grads):
    return flat(stepped(optimizer, nested(flat_params), [nested(g) for g in flat_grads]))


def assert_near(found, expected, most=1e-6):
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        assert np.linalg.norm(found[name] - a) <= most * np.linalg.norm(a), name


CASES = {
    "adamw": (adamw, {"weight_decay": 0.1}, lambda: longhand.Adam(0.1)),
    "lion": (lion, {"weight_decay": 0.1}, lambda: longhand.Lion(0.1)),
    "muon": (muon, {"weight_decay": 0.1, "heads": {QKV: HEADS}}, lambda: longhand.Muon(0.1, {QKV: HEADS})),
    "tiger": (tiger, {}, longhand.Tiger),
    "amos": (amos, {"schedule": cosine_decay}, longhand.Amos),
}


def test_all_are_compared():
    assert CASES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_are_those_of_numpy(name, seed):
    make, options, other = CASES[name]
    params, grads = start(seed), [random_tree(100 + seed + k, 0.1 if k % 3 else 0.01) for k in range(STEPS)]
    found = stepping(make(STEPS, lr=1e-3, warmup=WARMUP, **options), params, grads)
    assert_near(found, longhand.trained(other(), params, grads, 1e-3, WARMUP))
