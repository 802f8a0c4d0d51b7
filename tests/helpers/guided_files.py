"""State dicts of guided-diffusion and its relatives, of the networks that tests/parity/fixtures/adm.npz describes."""

import json
from pathlib import Path

import numpy as np
from seeded_weights import seeded

from fewstep.zoo.files import safetensors
from fewstep.zoo.guided_presets import PRESETS, Preset
from fewstep.zoo.guided_shapes import shapes

HEADS = {
    "new_order": {"head_size": 16, "order": "3hs", "schedule": "cosine"},
    "old_order": {"head_size": 16},
    "stem": {"heads": 4},
    "improved": {"heads": 4, "schedule": "cosine", "steps": 4000, "rescaled": True},
    "added": {},
    "consistency": {"head_size": 16, "order": "3hs", "schedule": "consistency", "nfe": 1},
    "teacher": {"head_size": 32, "order": "3hs", "schedule": "edm", "nfe": 79},
}


def fixture():
    """(what is known of every case, the arrays of all)."""
    arrays = dict(np.load(Path(__file__).parents[1] / "parity" / "fixtures" / "adm.npz"))
    return json.loads(str(arrays.pop("about"))), arrays


def state_dict(name):
    """The weights of a case."""
    return {key: seeded(key, tuple(shape)) for key, shape in fixture()[0][name]["shapes"].items()}


def guided_file(folder, name, monkeypatch):
    """A file of them, and the name of a preset that describes it."""
    arrays = state_dict(name)
    monkeypatch.setitem(PRESETS, name, Preset(f"{name}.pt", shapes(arrays), 8, **HEADS[name]))
    path = folder / f"{name}.safetensors"
    safetensors.write(path, arrays)
    return path
