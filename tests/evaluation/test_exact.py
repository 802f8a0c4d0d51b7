"""Comparisons by moments: what is exact must be what many drawn points only approach."""

import numpy as np
import pytest

from fewstep.diffusion import VP, Linear, oracles
from fewstep.evaluation.distances import frechet
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.exact import compare_exactly, spectrum
from fewstep.samplers import SAMPLERS, ddpm, draw_many, table_at, tabulate, uniform
from fewstep.samplers.exact import moments

ABOUT = {"command": "", "environment": {}}


def test_it_is_what_samples_approach():
    """One call is far off, so the distance is large beside what 20,000 samples leave open."""
    mean, std = np.array([0.2, -0.4]), np.array([0.5, 1.5])
    lines = [Line(name, SAMPLERS[name]) for name in ("ddim", "ddpm", "dpmpp_2m")]
    result = compare_exactly({"VP": (VP(), mean, std**2, 1.0)}, lines, [1, 2, 4], **ABOUT)
    den, data = oracles.gaussian(VP(), mean, std), np.random.default_rng(0).normal(mean, std, (20_000, 2))
    for cell in result.cells:
        table = table_at(SAMPLERS[cell.sampler], VP(), cell.budget)
        drawn = draw_many(den, table, range(20_000), (2,), batch=20_000)
        assert cell.metrics["FD-exact"].value == pytest.approx(frechet(drawn, data), rel=0.1, abs=0.01)


def test_the_spectrum_keeps_what_a_distance_sees():
    rng = np.random.default_rng(0)
    images = (rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12)) + 1).reshape(500, 2, 3, 2)
    mean, var = spectrum(images)
    flat = images.reshape(500, -1)
    assert mean @ mean == pytest.approx((flat.mean(0) ** 2).sum())
    np.testing.assert_allclose(np.sort(var), np.linalg.eigvalsh(np.cov(flat.T)), rtol=1e-9)


def test_units_and_blanks():
    lines = [Line("heun", SAMPLERS["heun"]), Line("ddim", SAMPLERS["ddim"])]
    data = {"ones": (Linear(), [0.2], [0.25], 1.0), "halves": (Linear(), [0.2], [0.25], 2.0)}
    result = compare_exactly(data, lines, [1, 3], **ABOUT)
    assert result.cell("ones", "heun", 1) is None
    one, half = (result.cell(run, "ddim", 3).metrics["FD-exact"].value for run in data)
    assert one == pytest.approx(4 * half)
    assert result.cell("ones", "ddim", 3).nfe == 3
    with pytest.raises(ValueError, match="no sampler has a table"):
        compare_exactly(data, lines[:1], [1], **ABOUT)


def test_of_a_learned_range_nothing_is_known():
    table = tabulate(ddpm(VP(), uniform(VP(), 4), "range"))
    with pytest.raises(ValueError, match="not known without the model"):
        moments(table, VP(), 0.0, 1.0)
