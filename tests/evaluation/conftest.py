"""Small runs to compare."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from fewstep.diffusion import Linear, oracles
from fewstep.diffusion.levers import under
from fewstep.train.data import Arrays, Dataset, Split
from fewstep.train.sharding import make_mesh


@pytest.fixture(scope="session")
def cloud():
    """Points of N(0.2, 0.5^2) in the plane."""
    points = np.random.default_rng(0).normal(0.2, 0.5, (900, 2)).astype(np.float32)
    return Dataset("cloud", Split(Arrays(points[:500])), Split(Arrays(points[500:])), 0)


@pytest.fixture
def oracle_run(cloud, tmp_path):
    """oracle_run(name, mean, std) -> a run on the cloud with the exact network of other data."""

    def make(name="cloud", mean=0.2, std=0.5):
        den = oracles.gaussian(Linear(), mean=mean, std=std)
        mesh = make_mesh((-1, 1, 1))
        return SimpleNamespace(
            name=name,
            folder=tmp_path / name,
            shape=(2,),
            data=cloud,
            denoiser=den,
            mesh=mesh,
            model=den,
            under=partial(under, den),
        )

    return make
