"""Makes tests/parity/fixtures/meanflow.npz with the network of Gsunshine/meanflow.

    git clone https://github.com/Gsunshine/meanflow && git -C meanflow checkout d70cb55d298ee03c53bf6da67bec281082e4e2d9
    .venv/bin/python tests/parity/make_fixtures/meanflow.py meanflow

Weights are those of helpers/seeded_weights.py, by the names of the parameters joined with dots.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

HERE = Path(__file__).parent
sys.path[:0] = [sys.argv[1], str(HERE.parents[1] / "helpers")]

from models.models_dit import DiT
from seeded_weights import seeded

SEED = 0
COMMITS = {"Gsunshine/meanflow": "d70cb55d298ee03c53bf6da67bec281082e4e2d9"}
ARGUMENTS = {
    "input_size": 32, "patch_size": 8, "in_channels": 3, "hidden_size": 24, "depth": 2, "num_heads": 3,
    "num_classes": 5,
}  # fmt: skip


def main():
    rng = np.random.default_rng(SEED)
    model = DiT(**ARGUMENTS, class_dropout_prob=0.0)
    x = rng.standard_normal((3, 32, 32, 3)).astype(np.float32)
    t, h, label = (np.array(a, np.float32) for a in ((1.0, 0.7, 0.2), (1.0, 0.0, 0.15), (4, 0, 5)))
    label = label.astype(np.int32)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x, t, h, label)["params"])
    shapes = {".".join(path): a.shape for path, a in shapes.items()}
    weights = {tuple(name.split(".")): jnp.asarray(seeded(name, shape)) for name, shape in shapes.items()}
    with jax.default_matmul_precision("highest"):
        out = jax.jit(model.apply)({"params": unflatten_dict(weights)}, x, t, h, label)
    about = {"seed": SEED, "commits": COMMITS, "kwargs": ARGUMENTS, "shapes": shapes}
    arrays = {"x": x, "t": t, "h": h, "label": label, "out": np.asarray(out)}
    np.savez_compressed(HERE.parent / "fixtures" / "meanflow.npz", about=json.dumps(about), **arrays)


if __name__ == "__main__":
    main()
