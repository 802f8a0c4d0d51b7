"""The same features through the packages that publish these distances: torchmetrics, torch-fidelity, pytorch-fid, prdc.

None of them needs torchvision for that, but some import it: something empty stands in where it is missing.  In float64
they agree as far as their eigenvalues do; 1e-16 that should be 0 has a root of 1e-8.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from unittest.mock import MagicMock

import numpy as np
import pytest

from fewstep.evaluation.distances import Kernel, Neighbours, frechet
from fewstep.evaluation.distances.neighbours import K

RNG = np.random.default_rng(0)
N, D = 300, 24
MIXED = RNG.standard_normal((D, D)) / np.sqrt(D)
REAL = RNG.standard_normal((N, D)) @ MIXED
DRAWN = 1.1 * RNG.standard_normal((N, D)) @ MIXED + 0.1
FEW = DRAWN[: D // 2]  # fewer items than features

sizes = pytest.mark.parametrize(("drawn", "error"), [(DRAWN, 1e-9), (FEW, 1e-6)], ids=["many", "few"])


@pytest.fixture
def published(monkeypatch):
    """Imports a module, or skips."""
    torch = pytest.importorskip("torch")

    def module(name):
        with monkeypatch.context() as patch:
            if find_spec("torchvision") is None:
                for part in ("", ".datasets", ".models", ".ops", ".transforms", ".transforms.functional"):
                    empty = MagicMock(__spec__=ModuleSpec(f"torchvision{part}", None))
                    patch.setitem(sys.modules, f"torchvision{part}", empty)
            return pytest.importorskip(name, exc_type=ImportError)

    module.torch = torch
    return module


def given(torch):
    """A network whose features are what it is given."""
    network = torch.nn.Identity()
    network.num_features = D
    return network


def updated(torch, metric, drawn):
    metric.update(torch.from_numpy(REAL), real=True)
    metric.update(torch.from_numpy(drawn), real=False)
    return metric.compute()


def kid(drawn):
    return Kernel(REAL)(drawn)["KID"].value


@sizes
def test_torchmetrics_fid(published, drawn, error):
    module = published("torchmetrics.image.fid")
    found = updated(published.torch, module.FrechetInceptionDistance(given(published.torch)), drawn)
    assert frechet(drawn, REAL) == pytest.approx(found.item(), rel=error)


@pytest.mark.filterwarnings("ignore:Metric .Kernel")
def test_torchmetrics_kid(published):
    """Its one subset is all there is, in another order."""
    module = published("torchmetrics.image.kid")
    found = updated(published.torch, module.KernelInceptionDistance(given(published.torch), 1, N), DRAWN)
    assert kid(DRAWN) == pytest.approx(found[0].item(), rel=1e-10)


@sizes
def test_torch_fidelity_fid(published, drawn, error):
    module = published("torch_fidelity.metric_fid")
    statistics = [module.fid_features_to_statistics(published.torch.from_numpy(a)) for a in (drawn, REAL)]
    found = module.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet(drawn, REAL) == pytest.approx(found[module.KEY_METRIC_FID], rel=error)


def test_torch_fidelity_kid(published):
    module = published("torch_fidelity.metric_kid")
    sets = [published.torch.from_numpy(a) for a in (DRAWN, REAL)]
    found = module.kid_features_to_metric(*sets, kid_subsets=1, kid_subset_size=N, verbose=False)
    assert kid(DRAWN) == pytest.approx(found[module.KEY_METRIC_KID_MEAN], rel=1e-10)


@pytest.mark.parametrize("save_cpu_ram", [True, False])
def test_torch_fidelity_precision_and_recall(published, save_cpu_ram):
    """Its balls have a surface, on which nothing is; its shares are in float32."""
    module = published("torch_fidelity.metric_prc")
    sets = [published.torch.from_numpy(a) for a in (DRAWN[:200], REAL)]
    options = {"prc_neighborhood": K, "prc_batch_size": 128, "save_cpu_ram": save_cpu_ram, "verbose": False}
    expected = module.prc_features_to_metric(*sets, **options)
    found = Neighbours(REAL)(DRAWN[:200])
    for name in ("precision", "recall"):
        assert 0.1 < found[name].value < 0.99
        assert found[name].value == pytest.approx(expected[name], rel=1e-6)


@sizes
@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_pytorch_fid(published, drawn, error):
    """Where the product of covariances is singular it may add 1e-6 to them."""
    calculate = published("pytorch_fid.fid_score").calculate_frechet_distance
    found = calculate(drawn.mean(0), np.cov(drawn.T), REAL.mean(0), np.cov(REAL.T))
    assert frechet(drawn, REAL) == pytest.approx(found, rel=error if drawn is DRAWN else 1e-4)


@pytest.mark.parametrize("count", [N, 200])
def test_prdc(count):
    pytest.importorskip("sklearn")
    expected = pytest.importorskip("prdc").compute_prdc(REAL, DRAWN[:count], nearest_k=K)
    found = {name: number.value for name, number in Neighbours(REAL)(DRAWN[:count]).items()}
    assert found == pytest.approx(expected, rel=1e-12)
