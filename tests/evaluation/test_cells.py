"""Cells are kept under what their bits depend on, and do not count unless they are whole."""

import subprocess
import sys

import numpy as np
import pytest
import small_network

from fewstep.diffusion import VP, Linear, cfg, clip_x0, oracles
from fewstep.evaluation.cells import Cells, Drawn, Extra
from fewstep.samplers import SAMPLERS, table_at
from fewstep.train.run.computation import computation
from fewstep.train.utils.hashing import digest

DRAWN = Drawn(
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1),
    True,
    np.array([0.25]),
    2,
    7.5,
    {"a": Extra("b", np.array([0.5, 1.5]))},
)


def test_a_cell_comes_back_as_it_was(tmp_path):
    cells = Cells(tmp_path)
    assert cells.load("a", "k" * 64) is None
    cells.save("a", "k" * 64, DRAWN)
    found = cells.load("a", "k" * 64)
    for name in Drawn._fields[:4]:
        np.testing.assert_array_equal(getattr(found, name), getattr(DRAWN, name))
    assert found.extra["a"].depends_on == "b"
    np.testing.assert_array_equal(found.extra["a"].values, [0.5, 1.5])
    assert found.rms == 7.5
    assert cells.load("a", "k" * 63 + "l") is None  # a file of the same short name


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_part_of_a_cell_does_not_count(tmp_path, share):
    cells = Cells(tmp_path)
    cells.save("a", "k" * 64, DRAWN)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert cells.load("a", "k" * 64) is None
    cells.save("a", "k" * 64, DRAWN)
    assert cells.load("a", "k" * 64) is not None


def test_a_flipped_bit_does_not_count(tmp_path):
    cells = Cells(tmp_path)
    cells.save("a", "k" * 64, DRAWN)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[data.index(bytes(range(24)))] ^= 1
    path.write_bytes(data)
    assert cells.load("a", "k" * 64) is None


def test_names_are_made_fit_for_files(tmp_path):
    assert (
        Cells(tmp_path).path("a/b dpmpp_2m cfg.scale=2", "0" * 64).name
        == "a-b-dpmpp_2m-cfg.scale=2-0000000000000000.npz"
    )


def test_digests_tell_apart_what_changes_an_image():
    process = Linear()
    den = oracles.gaussian(process, mean=0.2, std=0.5)
    table = table_at(SAMPLERS["ddim"], process, 4)
    found = [
        digest(den, table),
        digest(oracles.gaussian(process, mean=0.2, std=0.6), table),
        digest(oracles.gaussian(VP(), mean=0.2, std=0.5), table),
        digest(clip_x0()(den), table),
        digest(clip_x0(high=2.0)(den), table),
        digest(den, table_at(SAMPLERS["ddim"], process, 5)),
        digest(den, table_at(SAMPLERS["dpmpp_2m"], process, 4)),
        digest(den, table, np.arange(3)),
        digest(den, table, np.arange(4)),
        digest(den, table, None),
        digest(den, table, "text"),
    ]
    assert len(set(found)) == len(found)
    assert digest(oracles.gaussian(process, mean=0.2, std=0.5), table) == found[0]


@pytest.mark.slow
def test_a_digest_is_the_same_in_every_process():
    command = [sys.executable, small_network.__file__]
    told = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
    den = small_network.denoiser()
    assert told == [digest(den, computation(den, (8, 8, 1), ""))] * 2
    assert len({digest(d) for d in (den, cfg(2.0)(den), cfg(3.0)(den), small_network.denoiser(seed=1))}) == 4
