"""The distance that is watched while training is the one that is measured afterwards."""

import numpy as np
import pytest

from fewstep.diffusion import Linear, oracles
from fewstep.evaluation.compare import compare
from fewstep.evaluation.distances import frechet
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.preview_score import preview_score
from fewstep.samplers import SAMPLERS, default_nfe, default_sampler, draw_many, preview_table
from fewstep.train.data import arrays


def test_it_is_the_distance_of_500_seeds_to_the_held_out(cloud):
    process = Linear()
    den = oracles.gaussian(process, mean=0.2, std=0.5)
    images = draw_many(den, preview_table(den), range(500), (2,), batch=250)
    score = preview_score(cloud)
    assert score(den) == {"FD-points": pytest.approx(frechet(images, cloud.held_out[:].image), rel=1e-9)}
    far = oracles.gaussian(process, mean=1.2, std=0.5)
    assert score(far)["FD-points"] == pytest.approx(2.0, rel=0.2)  # the means are 1 apart in both coordinates


def test_it_is_the_cell_of_compare(oracle_run, cloud, tmp_path):
    run = oracle_run(mean=0.3, std=0.4)
    name = default_sampler(run.denoiser)
    calls = default_nfe(run.denoiser, SAMPLERS[name])
    lines = [Line(name, SAMPLERS[name])]
    result = compare([run], lines, [calls], folder=tmp_path, command="", environment={})
    value = result.cell("cloud", name, calls).metrics["FD-points"].value
    assert preview_score(cloud)(run.denoiser) == {"FD-points": pytest.approx(value, rel=1e-6)}


def test_one_held_out_image_has_no_distance():
    """Training goes on without it."""
    images = np.random.default_rng(0).normal(0.2, 0.5, (12, 2)).clip(-1, 1)
    assert preview_score(arrays(images))(oracles.gaussian(Linear(), mean=0.2, std=0.5)) == {}
    assert preview_score(arrays(images, held_out=2))(oracles.gaussian(Linear(), mean=0.2, std=0.5))


def test_it_is_nan_where_the_network_is(cloud):
    broken = oracles.gaussian(Linear(), mean=np.nan, std=0.5)
    assert np.isnan(preview_score(cloud)(broken)["FD-points"])
