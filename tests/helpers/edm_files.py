"""Pickles as EDM writes them, of the networks that tests/parity/fixtures/edm.npz describes."""

import json
from pathlib import Path

import numpy as np
from foreign_files import Called, edm_tensor, pickled
from seeded_weights import seeded

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"
SOURCE = "Attribution-NonCommercial-ShareAlike 4.0 is the licence of the networks, whose source is not in this file."


def fixture():
    """(what is known of every case, the arrays of all)."""
    arrays = dict(np.load(FIXTURES / "edm.npz"))
    return json.loads(str(arrays.pop("about"))), arrays


def network(name, changes=None, salt=""):
    """The network of a case, with its weights; changes: arguments; salt: of other weights."""
    known, arrays = fixture()
    about = known[name]
    weights = {}
    for key, shape in about["shapes"].items():
        if key.endswith("resample_filter"):
            weights[key] = arrays[f"{name}.filter"]
        else:
            weights[key] = arrays[f"{name}.u"] if key == "u" else seeded(salt + key, tuple(shape))
    inner, arguments = about["inner"]
    model = {key.removeprefix("model."): edm_tensor(value) for key, value in weights.items() if key != "u"}
    model = _persistent(inner, {"_parameters": model, "_init_kwargs": arguments | (changes or {})})
    buffers = {"u": edm_tensor(weights["u"])} if "u" in weights else {}
    return _persistent(about["class"], about["attributes"] | {"_buffers": buffers, "_modules": {"model": model}})


def edm_file(path, **networks):
    """Write networks by their names, beside what EDM has there too."""
    path.write_bytes(pickled(networks | {"loss_fn": None, "dataset_kwargs": {"path": "data.zip"}}))
    return path


def _persistent(name, state):
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state}
    return Called("torch_utils.persistence._reconstruct_persistent_obj", meta)
