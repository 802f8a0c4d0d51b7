"""EDM's networks and preconditions, against arrays that make_fixtures/edm.py computed with NVlabs/edm."""

import jax
import numpy as np
import pytest
from edm_files import edm_file, fixture, network
from imported import assert_close, assert_exports, loaded
from option_words import table_of

from fewstep.diffusion import Discrete
from fewstep.diffusion.arrays import over
from fewstep.diffusion.denoiser import Cond, Model
from fewstep.samplers import draw
from fewstep.zoo.edm import find
from fewstep.zoo.layout import exported

ABOUT, ARRAYS = fixture()
CASES = ("ddpmpp", "ncsnpp", "vp", "iddpm", "adm")
EVERYWHERE = {"groups": 32, "group_size": 4, "resampling": "block", "null": False}
SONG = {"eps": 1e-6, "residual": 0.5**0.5, "project": True, "decoder_attention": "last", "label": "before"}
DHARIWAL = {"eps": 1e-5, "modulation": "scale_shift", "head_size": 64, "order": "cos_sin", "label": "after"}
SETTINGS = {
    "ddpmpp": SONG | {"order": "sin_cos", "shift": 1, "filter": "box", "aux": False, "channels": (16, 48)},
    "ncsnpp": SONG | {"order": "fourier", "filter": "blur", "aux": True, "waves": 32, "embedding": 48},
    "vp": SONG | {"order": "sin_cos", "shift": 1, "stem": 16, "channels": (32, 16)},
    "iddpm": DHARIWAL | {"attention": (8, 4)},
    "adm": DHARIWAL | {"attention": (4,), "middle_attention": True},
}


def of(name, key):
    return ARRAYS[f"{name}.{key}"]


def channels_last(x):
    return x.transpose(0, 2, 3, 1)


def time_told(name, process):
    """The times at which our clock says what the network was told, in float64."""
    told = of(name, "told").astype(np.float64)
    match name:
        case "vp":
            return told / 999
        case "iddpm":
            return (told + 1) / 1000
        case "ncsnpp":
            return process.time(-(told + np.log(2)))
    return process.time(-4 * told)


QUICK = ("ncsnpp", "adm")  # one of each network


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in CASES])
def case(request, tmp_path_factory):
    """(name, what was found in its pickle)."""
    name = request.param
    return name, find(edm_file(tmp_path_factory.mktemp(name) / "network.pkl", ema=network(name)))


def test_settings(case):
    name, found = case
    assert (EVERYWHERE | SETTINGS[name]).items() <= found.network.keywords.items()
    assert found.classes == ABOUT[name]["attributes"]["label_dim"]


def test_noise_levels_are_those_that_the_network_is_told_of(case):
    """Within the rounding of their float32: of VP's log(1 + sigma^2), of iDDPM's recursion."""
    name, found = case
    t = time_told(name, found.process)
    np.testing.assert_allclose(np.exp(-found.process.lam(t)), of(name, "sigma"), rtol=1e-4 if name == "iddpm" else 3e-6)
    np.testing.assert_allclose(found.prediction.clock(found.process, t), of(name, "told"), rtol=1e-6)


def test_outputs_and_denoised_images_are_equal(case):
    name, found = case
    apply, params = loaded(found)
    t, label, raw = time_told(name, found.process), of(name, "label") if found.classes else None, []

    def network(*args):
        raw.append(apply(*args))
        return raw[-1]

    model = Model(network, found.process, found.prediction, found.classes, null_class=False)
    x = np.float32(over(found.process.alpha(t), of(name, "x")) * channels_last(of(name, "x")))

    def both(params, x):
        return model.denoiser(params)(x, t, None, Cond(label)).x0, raw.pop()

    with jax.default_matmul_precision("highest"):
        x0, output = (np.asarray(one) for one in jax.jit(both)(params, x))
    assert_close(output, channels_last(of(name, "raw"))[..., : x.shape[-1]])
    for one, wanted in zip(x0, channels_last(of(name, "out")), strict=True):
        assert_close(one, wanted)


def test_every_array_but_filters_and_levels_comes_back(case):
    name, found = case
    left = {key for key in found.arrays if key.endswith("resample_filter") or key == "u" or "map_augment" in key}
    assert all(key.startswith(found.unused) for key in left)
    if name != "iddpm":
        assert assert_exports(found) == left


@pytest.mark.parametrize("case", ["iddpm"], indirect=True)
def test_what_iddpm_predicts_besides_the_noise_is_kept(case):
    _, found = case
    back = exported(found.leaves, loaded(found)[1], found.arrays)
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_levels_of_iddpm_are_those_of_the_cosine_schedule():
    """u_j by the recursion of the paper's table 1; theirs is computed in float32."""
    bar, u = np.sin(np.pi / 2 * np.arange(1001) / (1000 * 1.008)) ** 2, np.zeros(1001)
    for j in range(1000, 0, -1):
        u[j - 1] = ((u[j] ** 2 + 1) / max(bar[j - 1] / bar[j], 0.001) - 1) ** 0.5
    process = Discrete("cosine", 1000)
    np.testing.assert_allclose(np.exp(-process.lam(np.arange(1000, 0, -1) / 1000)), u[:-1], rtol=1e-9)
    np.testing.assert_allclose(u[:-1], of("iddpm", "u")[:-1], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ddpmpp", "ncsnpp"], indirect=True)
def test_the_printed_options_draw_what_edm_draws(case):
    name, found = case
    table, z = table_of(found), channels_last(of(name, "z"))
    apply, params = loaded(found)
    den = Model(apply, found.process, found.prediction, found.classes, null_class=False).denoiser(params)
    cond = Cond(of(name, "label")[:2] if found.classes else None)
    start = np.float32(found.process.sigma(table.t[0])) * z
    with jax.default_matmul_precision("highest"):
        drawn = draw(den, table, range(2), found.shape, cond=cond, start=start)
    assert_close(np.asarray(drawn), channels_last(of(name, "drawn")))
