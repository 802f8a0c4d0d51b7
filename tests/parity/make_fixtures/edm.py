"""Makes tests/parity/fixtures/edm.npz, of the networks and preconditions of NVlabs/edm, and edm.pkl, a pickle of it.

    git clone https://github.com/NVlabs/edm && git -C edm checkout 008a4e5316c8e3bfe61a62f874bddba254295afb
    pip install torch==2.13.0 numpy requests click tqdm pillow
    python tests/parity/make_fixtures/edm.py edm

Weights are those of helpers/seeded_weights.py.  Every case has noisy images, their noise levels and the denoised
images, and what the network in it was told and returned; two also have images by EDM's sampler.  The source that the
pickle holds is replaced by one line.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [sys.argv[1], str(HERE.parents[1] / "helpers")]

from generate import edm_sampler
from seeded_weights import seeded
from torch_utils import persistence
from training import networks

SEED, COMMIT = 0, "008a4e5316c8e3bfe61a62f874bddba254295afb"
SONG = {"model_type": "SongUNet", "img_resolution": 8, "img_channels": 3, "model_channels": 16}
CASES = {
    "ddpmpp": ("EDMPrecond", SONG | {
        "label_dim": 3, "augment_dim": 2, "channel_mult": [1, 3], "num_blocks": 2, "attn_resolutions": [4],
    }),
    "ncsnpp": ("VEPrecond", SONG | {
        "channel_mult": [1, 2, 2], "num_blocks": 1, "attn_resolutions": [8, 4], "embedding_type": "fourier",
        "encoder_type": "residual", "channel_mult_noise": 2, "channel_mult_emb": 3, "resample_filter": [1, 3, 3, 1],
    }),
    "vp": ("VPPrecond", SONG | {"channel_mult": [2, 1], "num_blocks": 1, "attn_resolutions": [8], "beta_min": 0.2}),
    "iddpm": ("iDDPMPrecond", {
        "model_type": "DhariwalUNet", "img_resolution": 8, "img_channels": 3, "model_channels": 64, "label_dim": 4,
        "channel_mult": [1, 3], "num_blocks": 1, "attn_resolutions": [8, 4],
    }),
    "adm": ("EDMPrecond", {
        "model_type": "DhariwalUNet", "img_resolution": 8, "img_channels": 2, "model_channels": 32, "label_dim": 4,
        "channel_mult": [1, 2], "num_blocks": 2, "attn_resolutions": [8, 4], "sigma_data": 0.4, "augment_dim": 2,
    }),
}  # fmt: skip
SIGMAS = {"ddpmpp": [0.01, 0.7, 30.0], "ncsnpp": [0.03, 0.9, 90.0], "vp": [0.5, 3.0, 60.0], "adm": [0.003, 0.5, 70.0]}

DRAWN = ("ddpmpp", "ncsnpp")  # also by EDM's sampler in 18 steps


def made(kind, arguments):
    """A network with its seeded weights."""
    net = getattr(networks, kind)(**arguments).eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if not name.endswith("resample_filter") and name != "u":
                value.copy_(torch.from_numpy(seeded(name, tuple(value.shape))))
    return net


def case(name, rng):
    kind, arguments = CASES[name]
    net = made(kind, arguments)
    seen = []
    net.model.register_forward_hook(lambda module, args, raw: seen.extend((args[1].numpy().copy(), raw.numpy().copy())))
    sigma = net.u[[990, 500, 20]].numpy() if name == "iddpm" else np.array(SIGMAS[name], np.float32)
    x = rng.standard_normal((3, net.img_channels, 8, 12)).astype(np.float32) * (1 + sigma[:, None, None, None])
    label = np.arange(3) % max(1, net.label_dim)
    one_hot = torch.eye(net.label_dim)[label] if net.label_dim else None
    with torch.no_grad():
        out = net(torch.from_numpy(x), torch.from_numpy(sigma), one_hot).numpy()
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    levels = {"u": net.u.numpy()} if name == "iddpm" else {}
    filters = {key: value.numpy().copy() for key, value in net.state_dict().items() if key.endswith("resample_filter")}
    attributes = {key: value for key, value in vars(net).items() if type(value) in (int, float)}
    about = {"class": kind, "kwargs": arguments, "attributes": attributes, "shapes": shapes}
    about["inner"] = [type(net.model).__name__, dict(net.model.init_kwargs)]
    arrays = {"x": x, "sigma": sigma, "told": seen[0], "raw": seen[1], "out": out, "label": label} | levels
    if name in DRAWN:
        z = rng.standard_normal((2, net.img_channels, 8, 8)).astype(np.float32)
        with torch.no_grad():
            drawn = edm_sampler(net, torch.from_numpy(z), None if one_hot is None else one_hot[:2], num_steps=18)
        arrays |= {"z": z, "drawn": drawn.numpy()}
    if filters:
        arrays["filter"] = next(iter(filters.values()))
        assert all((value == arrays["filter"]).all() for value in filters.values())
    return about, arrays


def main():
    rng = np.random.default_rng(SEED)
    about, arrays = {"seed": SEED, "commit": COMMIT, "repository": "NVlabs/edm"}, {}
    for name in CASES:
        about[name], found = case(name, rng)
        arrays |= {f"{name}.{key}": value for key, value in found.items()}
    np.savez_compressed(HERE.parent / "fixtures" / "edm.npz", about=json.dumps(about), **arrays)
    narrow = {
        "model_type": "SongUNet", "img_resolution": 8, "img_channels": 1, "label_dim": 2, "model_channels": 4,
        "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    }  # fmt: skip
    for one in vars(networks).values():
        if isinstance(one, type) and persistence.is_persistent(one):
            one._orig_module_src = "The source of the networks is not in this file."
    value = {"ema": made("EDMPrecond", narrow), "loss_fn": None, "dataset_kwargs": {"path": "digits.zip"}}
    (HERE.parent / "fixtures" / "edm.pkl").write_bytes(pickle.dumps(value))


if __name__ == "__main__":
    main()
