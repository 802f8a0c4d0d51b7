"""Fixtures of arrays that the originals compute, as the scripts of tests/parity/make_fixtures write them."""

import json

import numpy as np


def write(path, cases, case, seed, commits):
    """Write what case(name, rng) -> (about, arrays) returns for each of the cases, with the seed and the commits."""
    rng = np.random.default_rng(seed)
    about, arrays = {"seed": seed, "commits": commits}, {}
    for name in cases:
        about[name], found = case(name, rng)
        arrays |= {f"{name}.{key}": value for key, value in found.items()}
    np.savez_compressed(path, about=json.dumps(about), **arrays)
