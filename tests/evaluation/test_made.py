"""How a comparison was made, as its page says: of an imported model nothing is claimed that its files do not tell."""

from dataclasses import replace

import pytest
from large_comparison import large

from fewstep.evaluation.report.made import how_made

IMPORTED = {
    "shape": [8, 8, 1], "classes": 0, "learned": ["velocities at an instant"], "folder": "runs/ddpm", "checkpoint": 0,
    "weights": "a1b2", "parameters": 701345, "commit": "c3d4", "versions": {"jax": "1.2.3"},
    "imported": {"kind": "UNet2DModel of diffusers", "licence": "unknown"},
}  # fmt: skip
DATA = {"data": "digits", "training_images": 1297, "held_out_images": 500}


@pytest.fixture(scope="module")
def comparison():
    return large()


@pytest.mark.parametrize(("data", "said"), [({}, "unknown"), (DATA, "digits: 500 to measure against, 1,297 for")])
def test_of_an_imported_model_its_training_is_unknown(comparison, data, said):
    facts = how_made(replace(comparison, models={"digits": IMPORTED | data}))["Model digits"]
    assert facts["data"].startswith(said)
    assert facts["imported from"] == "UNet2DModel of diffusers"
    assert (facts["imported with"], facts["commit of the import code"]) == ("jax 1.2.3", "c3d4")
    assert not {"trained with", "training time", "trained on features"} & {*facts}


def test_trajectories_are_not_measured_against_data(comparison):
    found = [how_made(replace(comparison, metrics=metrics))["Measurement"] for metrics in (["trajectory"], ["FD"])]
    assert [one["measured against"] for one in found] == [
        "samples in many calls from the same noise",
        "held-out images",
    ]


def test_sets_are_counted(comparison):
    found = how_made(replace(comparison, repeats=3))["Measurement"]
    assert (found["images per cell"], found["seeds"]) == ("3 sets of 100", "0 to 299, the same in every cell")
