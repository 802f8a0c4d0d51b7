"""What a model is drawn with where nothing is said."""

import pytest

from fewstep.diffusion import VELOCITY, Linear
from fewstep.diffusion.denoiser import Denoiser
from fewstep.diffusion.levers import clip_x0
from fewstep.samplers import SAMPLERS, default_nfe, default_sampler, preview_table
from fewstep.train.objectives import DMD, Denoising, Frechet, MeanFlow, Objective, SiD


def den(objective):
    options = {"capabilities": objective.capabilities, "calls": objective.trained_calls}
    return Denoiser.from_function(lambda params, x, *rest: x, {}, Linear(), VELOCITY, **options)


@pytest.mark.parametrize(
    ("objective", "name", "calls"),
    [
        (Denoising(), "dpmpp_2m", 16),
        (MeanFlow(), "flow_map", 2),
        (SiD(), "consistency", 1),
        (DMD(calls=4), "consistency", 4),
        (Frechet(nfe=3), "flow_map", 3),
        (Frechet(learned="instant", nfe=6), "dpmpp_2m", 6),
        (Objective(), "dpmpp_2m", 16),
    ],
)
def test_calls_are_those_that_were_trained_for(objective, name, calls):
    for model in (den(objective), clip_x0()(den(objective))):
        assert default_sampler(model) == name
        assert default_nfe(model, SAMPLERS[name]) == calls
        assert preview_table(model).nfe == calls


def test_another_sampler_has_its_own():
    assert default_nfe(den(Frechet(learned="instant", nfe=6)), SAMPLERS["ddim"]) == 16


def test_the_text_of_a_model_is_as_before_where_any_number_will_do():
    assert "calls" not in repr(den(Denoising()).model)
    assert "calls=1" in repr(den(SiD()).model)
