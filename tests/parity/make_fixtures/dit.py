"""Makes tests/parity/fixtures/dit.npz with the networks of facebookresearch/DiT and willisma/SiT.

    git clone https://github.com/facebookresearch/DiT && git -C DiT checkout ed81ce2229091fd4ecc9a223645f95cf379d582b
    git clone https://github.com/willisma/SiT && git -C SiT checkout 947f95bd3a510e9af441d38c1e9f72e0eee873c5
    pip install torch==2.13.0 timm==1.0.31 numpy
    python tests/parity/make_fixtures/dit.py DiT SiT

Of timm only Attention, Mlp and PatchEmbed are used.  Weights are those of helpers/seeded_weights.py; positions are
those that the network computed, and are stored.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "helpers"))

from fixture_files import write
from seeded_weights import seeded

SEED = 0
COMMITS = {
    "facebookresearch/DiT": "ed81ce2229091fd4ecc9a223645f95cf379d582b",
    "willisma/SiT": "947f95bd3a510e9af441d38c1e9f72e0eee873c5",
}
INDICES, TIMES = (0.0, 17.5, 803.0), (0.03, 0.5, 0.97)
NARROW = {"input_size": 8, "in_channels": 3, "hidden_size": 24, "depth": 2, "num_classes": 5}
CASES = {
    "dit": ("DiT", INDICES, NARROW | {"num_heads": 3, "patch_size": 2}),
    "plain": ("DiT", INDICES, NARROW | {"num_heads": 2, "patch_size": 4, "mlp_ratio": 2.0, "learn_sigma": False}),
    "sit": ("SiT", TIMES, NARROW | {"num_heads": 3, "patch_size": 2}),
    "sit_plain": ("SiT", TIMES, NARROW | {"num_heads": 6, "patch_size": 2, "learn_sigma": False}),
}


def module(kind):
    """The models.py of a repository; both have this name."""
    place = Path(sys.argv[1 + ("DiT", "SiT").index(kind)]) / "models.py"
    spec = importlib.util.spec_from_file_location(f"{kind.lower()}_models", place)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def case(name, rng):
    kind, told, arguments = CASES[name]
    model = getattr(module(kind), kind)(**arguments).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key != "pos_embed":
                value.copy_(torch.from_numpy(seeded(key, tuple(value.shape))))
        x, label = rng.standard_normal((3, 3, 8, 8)).astype(np.float32), np.array([4, 0, 5])  # 5 is the null class
        told = np.array(told, np.float32)
        out = model(torch.from_numpy(x), torch.from_numpy(told), torch.from_numpy(label)).numpy()
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    arrays = {"x": x, "told": told, "label": label, "out": out, "pos_embed": model.pos_embed.detach().numpy()}
    return {"kind": kind, "kwargs": arguments, "shapes": shapes}, arrays


if __name__ == "__main__":
    write(HERE.parent / "fixtures" / "dit.npz", CASES, case, SEED, COMMITS)
