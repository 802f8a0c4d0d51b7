"""fewstep.compare, Run.draw and fewstep.distances: what is drawn again, what things are called, what is refused."""

import tempfile
from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fewstep
from fewstep.evaluation import drawing

RNG = np.random.default_rng(0)
POINTS = np.tanh(RNG.standard_normal((200, 2))).astype(np.float32)
IMAGES = RNG.integers(0, 256, (80, 6, 6, 1)).astype(np.uint8)
SHORT = {"steps": 4, "save_every": 2, "log_every": 2, "preview_every": 100, "batch_size": 16}
OPTIONS = {"data": POINTS, "samplers": ["ddim"], "nfe": [2], "count": 20, "metrics": ["FD"]}


def network(factor):
    """A class of one name and one set of parameters, whose code has another factor."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x, t):
            return factor * self.layer(jnp.concatenate([x, t[:, None]], axis=1))

    return Net


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fewstep.train_run(tmp_path_factory.mktemp("runs") / "own", data=POINTS, network=network(1.0), **SHORT)


@pytest.fixture
def batches(monkeypatch):
    """The network calls of each batch that is drawn."""
    found, draw_batches = [], drawing.draw_batches

    def counted(den, table, *arguments, **options):
        for images in draw_batches(den, table, *arguments, **options):
            found.append(table.nfe)
            yield images

    monkeypatch.setattr(drawing, "draw_batches", counted)
    return found


def scaled(factor, **options):
    return fewstep.as_denoiser(lambda x, t: factor * x, fewstep.VP(), **options)


def oracle(std=0.5):
    return fewstep.oracles.gaussian(fewstep.VP(), mean=0.0, std=std)


def values(result, metric="FD-points"):
    return {cell.run: cell.metrics[metric].value for cell in result.cells}


@pytest.mark.parametrize("framework", ["jax", "numpy"])
def test_functions_of_one_name_are_told_apart(tmp_path, framework):
    dens = [scaled(factor, framework=framework) for factor in (0.1, 0.9)]
    alone = [values(fewstep.compare(den, out=tmp_path, **OPTIONS))["denoiser"] for den in dens]
    together = values(fewstep.compare(*dens, out=tmp_path, **OPTIONS))
    assert alone[0] != alone[1]
    assert together == {"denoiser": alone[0], "denoiser 2": alone[1]}
    errors = values(fewstep.compare(*dens, **OPTIONS | {"metrics": "trajectory"}), "trajectory")
    assert errors == {
        name: values(fewstep.compare(den, **OPTIONS | {"metrics": "trajectory"}), "trajectory")["denoiser"]
        for name, den in zip(errors, dens, strict=True)
    }


def test_constants_of_a_function_are_part_of_it(tmp_path):
    found = []
    for last in (0.2, 0.8):
        scales = np.float32([0.5, last])
        den = fewstep.as_denoiser(lambda x, t, scales=scales: scales * x, fewstep.VP())
        found.append(values(fewstep.compare(den, out=tmp_path, **OPTIONS))["denoiser"])
    assert found[0] != found[1]


def test_what_is_known_is_not_drawn_again(batches, tmp_path):
    for den, again in ((oracle(), False), (scaled(0.5), False), (scaled(0.5, framework="numpy"), True)):
        fewstep.compare(den, out=tmp_path, **OPTIONS)
        batches.clear()
        fewstep.compare(den, out=tmp_path, **OPTIONS)
        assert bool(batches) == again
    fewstep.compare(scaled(0.5), out=tmp_path, **OPTIONS)  # another function that computes the same
    assert not batches[2:]


def test_the_code_of_a_network_is_part_of_a_run(run, batches):
    first = values(fewstep.compare(run, **OPTIONS))
    batches.clear()
    same = fewstep.open_run(run.folder, network=network(1.0), data=POINTS)
    assert values(fewstep.compare(same, **OPTIONS)) == first
    assert not batches
    other = fewstep.open_run(run.folder, network=network(3.0), data=POINTS)
    assert values(fewstep.compare(other, **OPTIONS)) != first
    assert values(fewstep.compare(run, **OPTIONS)) == first


@pytest.mark.slow
def test_statistics_are_of_the_code_of_a_network(run):
    options = OPTIONS | {"samplers": "analytic_ddpm"}
    fewstep.compare(run, calibrate=True, **options)
    fewstep.compare(fewstep.open_run(run.folder, network=network(1.0), data=POINTS), **options)
    other = fewstep.open_run(run.folder, network=network(3.0), data=POINTS)
    with pytest.raises(fewstep.errors.UsageError, match="was measured with another code of the network"):
        fewstep.compare(other, **options)


def test_steps_of_a_run_are_told_apart(run, tmp_path):
    early = replace(run, step=2, params=fewstep.open_run(run.folder, step=2, network=network(1.0)).params)
    found = values(fewstep.compare(early, run, out=tmp_path, **OPTIONS))
    assert found.keys() == {"own@2", "own@4"}
    assert found["own@2"] == values(fewstep.compare(early, out=tmp_path, **OPTIONS))["own"]
    with pytest.raises(fewstep.errors.UsageError, match="own@4 is given twice"):
        fewstep.compare(run, run, out=tmp_path, **OPTIONS)


REFUSED = {
    "sampler": ({"samplers": ["dimm"]}, "no sampler is called 'dimm': did you mean 'ddim'"),
    "sampler 3": ({"samplers": [3]}, "no sampler is called 3"),
    "no samplers": ({"samplers": []}, "samplers is empty"),
    "lambdas": ({"samplers": [lambda p, g: (), lambda p, g: ()]}, "two lines are called '<lambda>'"),
    "grid": ({"grids": ["unifrm"]}, "no grid is called 'unifrm': did you mean 'uniform'"),
    "metric": ({"metrics": ["FDD"]}, "no metric is called 'FDD': did you mean 'FD'"),
    "no metrics": ({"metrics": []}, "metrics is empty"),
    "half a call": ({"nfe": [2.5]}, r"nfe is a whole number in \[1, 10000\]: got 2.5"),
    "a letter": ({"nfe": ["a"]}, "nfe is a whole number.*got 'a'"),
    "no calls": ({"nfe": []}, "nfe is empty"),
    "repeats": ({"repeats": 0}, r"repeats is a whole number in \[1, 100\]: got 0"),
    "batch": ({"batch": 0}, "batch is a whole number.*got 0"),
    "count": ({"count": 20.0}, r"count is a whole number in \[2, 1000000\]: got 20.0"),
    "last seeds": ({"seed": 2**32 - 5}, "below 2\\^32"),
    "features": ({"features": ["pixel"]}, "features pixel: write pixels"),
    "features 3": ({"features": 3}, "features are objects"),
    "unmade": ({"levers": [fewstep.cfg]}, "cfg is not a lever: .* such as cfg\\(1.5\\)"),
    "lever 3": ({"levers": 3}, "3 is not a lever"),
    "lever text": ({"levers": "clp_x0"}, "no lever is called 'clp_x0': did you mean 'clip_x0'"),
    "lever setting": ({"levers": "clip_x0(top=2)"}, "lever 'clip_x0\\(top=2\\)': clip_x0 has no 'top'"),
    "no data": ({"data": None}, "data=images"),
    "variance": ({"samplers": "analytic_ddpm"}, "denoiser has no statistics of it: pass calibrate=True$"),
}


@pytest.mark.parametrize(("options", "part"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(options, part):
    with pytest.raises(fewstep.errors.UsageError, match=part) as error:
        fewstep.compare(scaled(0.5), **OPTIONS | options)
    assert "\n" not in str(error.value)


def test_a_file_is_no_folder_for_results(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(fewstep.errors.UsageError, match="out: cannot make the folder"):
        fewstep.compare(oracle(), out=tmp_path / "file", **OPTIONS)


@pytest.mark.parametrize("subject", [3, [oracle()], lambda x, t: x, np.mean])
def test_what_is_compared_is_told_by_its_type(subject):
    with pytest.raises(fewstep.errors.UsageError, match=f"got {type(subject).__name__}$"):
        fewstep.compare(subject, **OPTIONS)


def test_one_is_as_good_as_a_list():
    alone = {"samplers": "ddim", "metrics": "FD", "nfe": 2, "grids": "uniform", "features": "pixels"}
    assert values(fewstep.compare(oracle(), **OPTIONS | alone)) == values(fewstep.compare(oracle(), **OPTIONS))


def test_names_have_settings():
    levers = ["clip_x0(-1, .5)", fewstep.clip_x0(high=0.9)]
    sampler = partial(fewstep.samplers.ddim, eta=0.5)
    result = fewstep.compare(oracle(), **OPTIONS | {"levers": levers, "samplers": ["ddim", sampler]})
    assert result.levers == ("clip_x0(-1, .5)", "clip_x0(high=0.9)")
    assert result.lines == ["ddim", "ddim(eta=0.5)"]
    made = fewstep.compare(oracle(), **OPTIONS | {"levers": fewstep.clip_x0(-1, 0.5)})
    assert made.levers == ("clip_x0(-1, 0.5)",)
    assert values(made) == values(fewstep.compare(oracle(), **OPTIONS | {"levers": "clip_x0(-1, 0.5)"}))


@pytest.mark.slow
def test_variances_are_measured_when_asked():
    options = OPTIONS | {"samplers": "analytic_ddpm", "calibrate": True}
    found = [values(fewstep.compare(scaled(0.5, framework=f), **options))["denoiser"] for f in ("jax", "numpy")]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_results_are_with_the_first_run_or_nowhere(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fewstep.compare(oracle(), **OPTIONS)
    assert list(tmp_path.iterdir()) == []
    before = len(list((run.folder / "compare" / "cells").glob("gaussian*")))
    result = fewstep.compare(oracle(), run, **OPTIONS)
    assert result.runs == ["gaussian", "own"]
    assert len(list((run.folder / "compare" / "cells").glob("gaussian*"))) == before + 1


def test_other_processes_have_no_comparison(monkeypatch):
    monkeypatch.setattr("fewstep.evaluation.compare.is_main_process", lambda: False)
    assert fewstep.compare(oracle(), **OPTIONS) is None


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"sampler": "dimm"}, "did you mean 'ddim'"),
        ({"sampler": None}, "no sampler is called None"),
        ({"grid": "unifrm"}, "did you mean 'uniform'"),
        ({"nfe": "2"}, "nfe is a whole number .* got '2'"),
        ({"seeds": 3}, "seeds are one or more whole numbers"),
        ({"seeds": [-1]}, "seeds are one or more whole numbers"),
        ({"batch": 0}, "batch is a whole number.*got 0"),
        ({"levers": [fewstep.cfg]}, "cfg is not a lever"),
        ({"levers": "clp_x0"}, "did you mean 'clip_x0'"),
        ({"levers": [lambda den: 3]}, "returned a 3: a lever returns a denoiser"),
    ],
)
def test_draws_that_do_not_fit_are_refused(run, options, part):
    with pytest.raises(fewstep.errors.UsageError, match=part):
        run.draw(**{"sampler": "ddim", "nfe": 2, "seeds": range(3)} | options)


def test_seeds_and_levers_of_a_draw_in_all_forms(run):
    wanted = run.draw("ddim", 2, range(3), levers=(fewstep.clip_x0(-0.5, 0.5),))
    for levers in ("clip_x0(-0.5, 0.5)", fewstep.clip_x0(-0.5, 0.5), iter([fewstep.clip_x0(-0.5, 0.5)])):
        found = run.draw(fewstep.samplers.ddim, 2, (seed for seed in range(3)), levers=levers)
        np.testing.assert_array_equal(found, wanted)


def test_images_of_a_sampler_may_lie_outside_the_bounds(tmp_path):
    drawn = (1.2 * (IMAGES[:30] / 127.5 - 1)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", images=drawn)
    found = fewstep.distances(drawn, IMAGES, metrics="FD")
    assert dict(found) == dict(fewstep.distances(drawn.clip(-1, 1), IMAGES, metrics="FD"))
    options = OPTIONS | {"data": IMAGES}
    result = fewstep.compare(oracle(), jnp.asarray(drawn), tmp_path / "samples.npz", **options)
    (rows,) = result.images.values()
    assert rows["images"] == rows["samples.npz"]
    with pytest.raises(fewstep.errors.UsageError, match=r"spans -1.2 to 1.2, outside \[-1, 1\]"):
        fewstep.distances(IMAGES, drawn)
    with pytest.raises(fewstep.errors.UsageError, match=r"images / 127\.5"):
        fewstep.distances(IMAGES.astype(np.float32), IMAGES)


def test_a_folder_of_runs_is_not_one_of_images(run):
    for call in (fewstep.compare, fewstep.distances):
        with pytest.raises(fewstep.errors.UsageError, match=r"contains the run .*own"):
            call(run.folder.parent, *([POINTS] if call is fewstep.distances else []))


def test_images_are_numbered_apart_from_denoisers():
    result = fewstep.compare(POINTS[:30], scaled(0.5), POINTS[30:60], **OPTIONS)
    assert result.runs == ["denoiser"]
    assert result.images["denoiser"].keys() == {"images", "images 2"}


def test_points_are_called_points():
    assert str(fewstep.distances(POINTS[:90], POINTS[90:])).startswith("90 points against 110,")
    assert str(fewstep.distances(IMAGES[:30], IMAGES[30:])).startswith("30 images against 50,")
