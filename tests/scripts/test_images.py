"""`fewstep sample` from an image, by inversion, with trajectories; `fewstep samplers` as numbers."""

from functools import partial

import numpy as np
import pytest
from one_line import refused
from PIL import Image

from fewstep.cli.config.open_run import open_run
from fewstep.cli.verbs import from_images
from fewstep.diffusion import Linear
from fewstep.samplers import GRIDS, SAMPLERS, table_at
from fewstep.samplers.inversion import ddim_inversion
from fewstep.samplers.start import noised


@pytest.fixture
def image(tmp_path):
    """A colour file of another shape, left dark and right bright."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def sampled(fewstep, digits_run, tmp_path):
    """sampled(*words) -> (images, what was said)."""

    def run(*words):
        status, _, err = fewstep("sample", digits_run, "--count", 3, "--label", 3, "--out", tmp_path / "a.png", *words)
        assert status == 0, err
        return np.load(tmp_path / "a.npz")["images"], err

    return run


@pytest.mark.slow
def test_an_image_little_changed_stays_itself(sampled, image):
    words = ("--from", image, "--nfe", 4, "--sampler", "ddim")
    near, _ = sampled(*words, "--strength", 0.02)
    assert near.shape == (3, 8, 8, 1)
    assert (near[:, :, :3] < -0.8).all()
    assert (near[:, :, 5:] > 0.8).all()
    far, _ = sampled(*words)
    assert np.abs(far - near).max() > 0.2
    assert np.abs(far[0] - far[1]).max() > 0.05  # a seed each


@pytest.mark.slow
def test_a_file_of_samples_brings_its_labels(fewstep, digits_run, tmp_path):
    """Sixes are inverted as sixes, not as all classes in turn."""
    for name, more in (("six", ("--label", 6)), ("again", ("--from", tmp_path / "six.npz", "--strength", 0.3))):
        words = ("--count", 2, "--nfe", 2, "--out", tmp_path / f"{name}.png", *more)
        status, _, err = fewstep("sample", digits_run, "--sampler", "ddim", *words)
        assert status == 0, err
    np.testing.assert_array_equal(np.load(tmp_path / "again.npz")["labels"], [6, 6])
    status, _, _ = fewstep("sample", digits_run, *words, "--sampler", "ddim", "--label", 1)
    assert status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "again.npz")["labels"], [1, 1])


@pytest.mark.slow
def test_a_much_larger_image_is_reduced_and_said_to_be(sampled, image, tmp_path):
    assert "30x20 pixels and was reduced to 8x8" in sampled("--from", image, "--nfe", 2, "--sampler", "ddim")[1]
    Image.new("L", (12, 12)).save(tmp_path / "small.png")
    assert "reduced" not in sampled("--from", tmp_path / "small.png", "--nfe", 2, "--sampler", "ddim")[1]


@pytest.mark.slow
def test_single_images_go_to_a_folder(fewstep, digits_run, tmp_path):
    words = ("--count", 3, "--nfe", 2, "--seed", 5)
    for out, scale in ((f"{tmp_path}/single/", 2), (tmp_path / "all.png", 3)):
        status, _, err = fewstep("sample", digits_run, *words, "--out", out, "--scale", scale)
        assert status == 0, err
    files = sorted((tmp_path / "single").iterdir())
    assert [file.name for file in files] == ["000005.png", "000006.png", "000007.png", "samples.npz"]
    one, sheet = np.array(Image.open(files[1])), np.array(Image.open(tmp_path / "all.png"))
    assert one.shape == (16, 16)
    np.testing.assert_array_equal(one[::2, ::2], sheet[:24:3, 27:51:3])  # the second image of the sheet
    assert fewstep("sample", digits_run, *words, "--out", tmp_path / "a.jpg")[0] == 2


@pytest.mark.slow
def test_strength_1_forgets_the_image_on_a_process_that_does(sampled, image):
    words = ("--nfe", 4, "--sampler", "ddim")
    whole, said = sampled(*words, "--from", image, "--strength", 1)
    np.testing.assert_allclose(whole, sampled(*words)[0], atol=1e-5)
    assert "4 calls" in said


@pytest.mark.slow
def test_it_begins_where_it_says_with_the_whole_budget(sampled, image, digits_run):
    """The same from Python: x_t of the image and the seed's noise, a grid from t = strength."""
    from functools import partial

    from fewstep.samplers import uniform

    run, seeds = open_run(digits_run), np.arange(3)
    row = np.where(np.arange(8) < 4, -1.0, 1.0).astype(np.float32)
    table = run.table("heun", 7, partial(uniform, start=0.25))
    assert (table.t[0], table.nfe) == (0.25, 7)
    drawn, said = sampled("--from", image, "--strength", 0.25, "--nfe", 7, "--sampler", "heun", "--grid", "uniform")
    saved = np.broadcast_to(row[None, None, :, None], (3, 8, 8, 1))
    want = run.follow(table, seeds, 3, start=noised(run.model.process, 0.25, seeds, saved))
    assert np.abs(drawn - want).max() < 0.2  # Lanczos rings a little at the edge
    assert "7 calls" in said


@pytest.mark.slow
def test_inversion_comes_back_to_the_image(sampled, tmp_path):
    """For every image of an .npz in turn, and nearer with more calls; test_inversion.py proves the rate on an exact
    denoiser.  The hardly trained network here is left with an error of about sigma at the lowest time.
    """
    given, _ = sampled("--nfe", 16, "--sampler", "ddim", "--seed", 5)
    np.savez(tmp_path / "given.npz", images=given)
    words = ("--from", tmp_path / "given.npz", "--invert", "--sampler", "ddim")
    errors = []
    for nfe in (2, 64):
        back, said = sampled(*words, "--nfe", nfe)
        errors.append(np.abs(back - given).mean())
        assert f"{nfe} calls after {nfe} of inversion" in said
    assert errors[1] < 0.8 * errors[0]
    assert errors[1] < 2e-3


@pytest.mark.slow
def test_the_way_up_ends_where_the_way_down_begins(sampled, image, monkeypatch):
    """Also for edm, which begins above its grid."""
    seen = []

    def recorded(process, times):
        seen.extend(times)
        return ddim_inversion(process, times)

    monkeypatch.setattr(from_images, "ddim_inversion", recorded)
    drawn, _ = sampled("--from", image, "--invert", "--strength", 0.5, "--sampler", "edm", "--nfe", 7)
    process, name = Linear(), SAMPLERS["edm"].grid_for(Linear())
    table = table_at(SAMPLERS["edm"], process, 7, partial(GRIDS[name], start=0.5))
    assert seen[-1] == table.t[0] > 0.5
    assert np.isfinite(drawn).all()


@pytest.mark.slow
def test_trajectories_are_strips_of_predictions(fewstep, sampled, digits_run, tmp_path):
    _, said = sampled("--nfe", 5, "--trajectory", "--sampler", "ddim")
    assert "a-trajectory.png" in said
    cell = (8 + 1) * 5
    assert Image.open(tmp_path / "a-trajectory.png").size == (5 * cell - 5, 3 * cell - 5)
    sampled("--nfe", 40, "--trajectory", "--count", 9)
    assert Image.open(tmp_path / "a-trajectory.png").size == (16 * cell - 5, 8 * cell - 5)
    run = open_run(digits_run)
    table = run.table("ddim", 5)
    np.testing.assert_allclose(run.predictions(table, [0, 1], [4], 3)[0], run.draw("ddim", 5, [0, 1], 3), atol=1e-5)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--from", "absent.png"], ["--from absent.png", "no such file"]),
        (["--from", "text.png"], ["--from text.png", "not an image"]),
        (["--from", "text.npz"], ["text.npz", "`images`"]),
        (["--from", "bare.npz"], ["bare.npz", "`images`"]),
        (["--from", "other.npz"], ["other.npz", "(2, 3, 3, 1)", "8, 8, 1"]),
        (["--from", "flat.npz"], ["--from", "flat.npz", "spans 3 to 3", "[-1, 1]", "/ 127.5 - 1"]),
        (["--from", "bytes.npz"], ["--from", "bytes.npz", "spans 0 to 255", "[-1, 1]", "/ 127.5 - 1"]),
        (["--from", "image.png", "--strength", "0"], ["--strength 0", "above 0"]),
        (["--from", "image.png", "--strength", "1.5"], ["--strength 1.5", "at most 1"]),
        (["--from", "image.png", "--strength", "nan"], ["--strength nan"]),
        (["--from", "image.png", "--strength", "0.0001"], ["--strength 0.0001", "give more"]),
        (["--from", "image.png", "--sampler", "deis", "--set", "deis.first=analytic"], ["--from", "deis.first"]),
        (["--strength", "0.5"], ["--strength", "--from"]),
        (["--invert"], ["--invert", "--from"]),
    ],
)
def test_sample_from_an_image_refuses(fewstep, digits_run, image, monkeypatch, words, parts):
    monkeypatch.chdir(image.parent)
    (image.parent / "text.png").write_text("no image")
    (image.parent / "text.npz").write_text("no numbers")
    with open("bare.npz", "wb") as file:
        np.save(file, np.zeros((2, 8, 8, 1), np.float32))
    np.savez("other.npz", images=np.zeros((2, 3, 3, 1), np.float32))
    np.savez("flat.npz", images=np.full((2, 8, 8, 1), 3.0))
    np.savez("bytes.npz", images=np.linspace(0, 255, 128).reshape(2, 8, 8, 1))
    refused(fewstep("sample", digits_run, "--out", "out.png", *words), *parts)
    assert not list(image.parent.glob("out*"))


def test_runs_of_points_have_no_pictures_to_start_from(fewstep, moons_run, image):
    refused(fewstep("sample", moons_run, "--from", image), "--from", "shape 2", "not grey or colour")
    refused(fewstep("sample", moons_run, "--trajectory"), "--trajectory")


def test_a_grid_that_cannot_begin_at_an_image_is_named(fewstep, digits_run, image, monkeypatch):
    from fewstep.cli.config import registry, settings

    def whole(process, steps):
        """A grid of fixed ends."""
        return np.linspace(1.0, 0.0, steps + 1)

    monkeypatch.setitem(settings.GRIDS, "uniform", whole)
    monkeypatch.setitem(registry.CONFIGURABLES, "uniform", whole)
    refused(fewstep("sample", digits_run, "--from", image), "grid uniform cannot start", "log_snr", "karras")


@pytest.mark.parametrize(
    "process", ["Linear", *(pytest.param(name, marks=pytest.mark.slow) for name in ("VP", "VE", "Cosine", "Shifted"))]
)
def test_tables_fit_the_screen(fewstep, process):
    for name in SAMPLERS:
        said = fewstep("samplers", "--table", name, "--nfe", 5, "--process", process)
        if name == "dpm_solver_v3":
            refused(said, "needs statistics of a run", "fewstep calibrate RUN --statistics ems")
            continue
        status, out, err = said
        assert status == 0, err
        assert max(map(len, out.splitlines())) <= 80
        assert name in out.splitlines()[0]


def test_a_table_has_its_numbers(fewstep):
    words = ("samplers", "--table", "ddim", "--nfe", 2, "--set", "ddim.eta=0.5", "--grid", "quadratic")
    status, out, err = fewstep(*words)
    assert status == 0, err
    lines = [line.split() for line in out.splitlines()[1:]]
    assert lines[0] == ["call", "t", "x0", "eps", "noise"]
    assert lines[1][:3] == ["0", "1", "0.75"]
    assert lines[2][:3] == ["1", "0.25", "1"]


def test_a_check_says_what_the_sampler_does(fewstep):
    status, out, err = fewstep("samplers", "--check", "ddpm", "--nfe", 4, "--process", "VP", "--grid", "log_snr")
    assert status == 0, err
    for part in ("4 calls", "(data: 0.2)", "(data: 0.5)", "Frechet", "by default 1 (weak)", "stability"):
        assert part in out
    out = fewstep("samplers", "--check", "ddim", "--set", "ddim.eta=1.0")[1]
    assert "weak" in out  # what is measured follows from the table


@pytest.mark.parametrize(
    ("name", "process", "part"),
    [
        ("heun", "Discrete", "not smooth in t"),
        ("restart", "Shifted", "weak"),  # whose 8 rows have no noise yet
        ("er_sde", "Linear", "at 640 steps; by default 2 (weak)"),
    ],
)
def test_checks_fit_the_screen(fewstep, name, process, part):
    status, out, err = fewstep("samplers", "--check", name, "--process", process)
    assert status == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert part in out


def test_what_a_row_does_not_have_is_a_dash(fewstep):
    """Langevin's steps are on no path, those of ddpm below are."""
    out = fewstep("samplers", "--table", "langevin:1:ddpm", "--nfe", 5, "--set", "ddpm.noise=path")[1]
    assert "nan" not in out
    assert out.splitlines()[2].split()[-2:] == ["-", "-"]
    assert out.splitlines()[-1].split()[-1] == "0"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--table", "dpmp_2m"], ["did you mean 'dpmpp_2m'"]),
        (["--check", "heunn"], ["did you mean 'heun'"]),
        (["--table", "ddim", "--process", "Linar"], ["no process", "did you mean 'Linear'"]),
        (["--table", "ddim", "--grid", "karas"], ["did you mean 'karras'"]),
        (["--table", "ddim", "--nfe", "0"], ["--nfe is a whole number in [1, 10000]: got 0"]),
        (["--table", "heun", "--nfe", "1"], ["1 network calls"]),
        (["--table", "ddim", "--set", "ddpm.variance='large'"], ["ddpm is not used here"]),
        (["--set", "ddim.eta=1.0"], ["ddim is not used here"]),
    ],
)
def test_samplers_refuses(fewstep, words, parts):
    refused(fewstep("samplers", *words), *parts)


def test_the_process_of_a_table_is_set_too(fewstep):
    status, out, _ = fewstep("samplers", "--table", "ddim", "--process", "Discrete", "--set", "Discrete.steps=100")
    assert status == 0
    assert "ddim in 8 calls, Discrete" in out
    status, _, err = fewstep("samplers", "--table", "ddim", "--set", "VP.t_min=0.01")
    assert status == 2
    assert "VP is not used here" in err
