"""What compare is told: lines, sweeps, grids, metrics, features, exact comparisons."""

import json
import shlex
import shutil
import sys
from types import SimpleNamespace

import pytest
from one_line import refused
from report_page import Page

from fewstep.cli.verbs.sweep import lines
from fewstep.diffusion import Linear
from fewstep.diffusion.levers.bounds import ClipX0
from fewstep.diffusion.levers.guidance import CFG


def names(*arguments, run=True, processes=(Linear(),)):
    samplers, grids, levers, sweeps, overrides = arguments
    return [line.name for line in lines(samplers, grids, levers, sweeps, overrides, run).on(processes)]


def test_lines_are_samplers_times_grids_times_what_is_swept():
    assert names(["ddim", "ddpm"], [], [], [], []) == ["ddim", "ddpm"]
    assert names(["ddim"], ["karras"], [], [], []) == ["ddim"]
    assert names(["ddim"], ["karras", "uniform"], [], [], []) == ["ddim karras", "ddim uniform"]
    assert names(["ddim"], [], [], ["cfg.scale=1,2"], []) == ["ddim cfg.scale=1", "ddim cfg.scale=2"]
    swept = names(["ddim"], [], [], ["cfg.scale=1,2", "ddim.eta=0,1"], [])
    assert swept == [f"ddim cfg.scale={s} ddim.eta={e}" for s in (1, 2) for e in (0, 1)]


def test_what_is_swept_makes_lines_of_what_it_is_part_of_alone():
    assert names(["ddim", "ddpm"], [], [], ["ddim.eta=0,1"], []) == ["ddim ddim.eta=0", "ddpm", "ddim ddim.eta=1"]
    assert names(["ddim"], ["karras", "uniform"], [], ["karras.rho=3,7"], []) == [
        "ddim karras karras.rho=3", "ddim uniform", "ddim karras karras.rho=7"
    ]  # fmt: skip
    swept = names(["ddim"], [], [], ["uniform.start=0.5,0.9"], [])  # the default grid of the process
    assert swept == ["ddim uniform.start=0.5", "ddim uniform.start=0.9"]


def test_a_swept_lever_is_put_around_the_others_unless_it_is_there():
    den = SimpleNamespace(process=Linear(), classes=10)
    for levers, outermost in (["clip_x0"], CFG), (["cfg", "clip_x0"], ClipX0):
        found = lines(["ddim"], [], levers, ["cfg.scale=1,2"], []).on([Linear()])
        assert [line.swept for line in found] == [{"cfg.scale": "1"}, {"cfg.scale": "2"}]
        for line, scale in zip(found, (1.0, 2.0), strict=True):
            around = line.levers[1](line.levers[0](den))
            assert type(around) is outermost
            guided = around if outermost is CFG else around.inner
            assert guided.scale == scale


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--sweep", "cfg.scale"], ["name.parameter=value"]),
        (["--sweep", "cfg.scale=1,1"], ["name.parameter=value"]),
        (["--sweep", "cfg.scal=1,2"], ["'scal'", "did you mean 'scale'"]),
        (["--sweep", "cfgg.scale=1,2"], ["'cfgg'"]),
        (["--sweep", "heun.x=1,2"], ["heun", "'x'"]),
        (["--sweep", "karras.rho=3,7"], ["--sweep karras.rho=3,7: karras is not used"]),
        (["--lever", "cfg(1.5)", "--sweep", "cfg.scale=1,2"], ["--lever 'cfg(1.5)'", "cfg.scale is set"]),
        (["--lever", "cfg(scale=1.5)", "--sweep", "cfg.scale=1,2"], ["cfg.scale is set"]),
        (["--lever", "cfg(1.5)", "--set", "cfg.scale=2"], ["cfg.scale is set"]),
        (["--sweep", "cfg.scale=1,2", "--sweep", "cfg.scale=3,4"], ["--sweep", "cfg.scale is set twice"]),
        (["--sweep", "cfg.scale=1,2", "--lever", "cfg", "--set", "cfg.scale=7"], ["cfg.scale is set twice"]),
        (["--sweep", "ddim.eta=a,b"], ["--sweep ddim.eta=a"]),
        (["--lever", "cgf(2)"], ["did you mean 'cfg'"]),
        (["--sampler", ""], ["--sampler ''"]),
        (["--metric", "FD,"], ["--metric 'FD,'"]),
        (["--metric", "trajectory", "--sampler", "ddpm", "--nfe", "2"], ["trajectory", "without noise"]),
        (["--batch", "0"], ["--batch is a whole number", "got 0"]),
        (["--metric", "FID"], ["no metric", "'FID'"]),
        (["--metric", "accuracy"], ["accuracy"]),
        (["--features", "pixel"], ["--features pixel"]),
        (["--features", "classifier"], ["has no classifier", "fewstep classifier"]),
        (["--features", "nowhere.npz"], ["nowhere.npz"]),
        (["--grid", "karas"], ["'karas'", "did you mean 'karras'"]),
        (["--repeats", "0"], ["--repeats is a whole number in [1, 100]: got 0"]),
        (["--gaussian", "0,1"], ["--exact"]),
        (["--metric", "precision", "--count", "4"], ["precision", "at least 6"]),
    ],
)
def test_what_is_wrong_is_one_line(fewstep, digits_run, tmp_path, words, parts):
    asked = ("compare", digits_run, "--nfe", 1, "--sampler", "ddim", "--out", tmp_path)
    refused(fewstep(*asked, *words), *parts)


def test_without_a_run(fewstep):
    refused(fewstep("compare"), "folder of a run", "--exact")


def table(text):
    """{line: numbers} of the first table in a text."""
    rows = [line.rstrip().replace("*", " ").replace("~", " ").split() for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows[2:] if len(row) > 1}


@pytest.mark.slow
def test_a_sweep_draws_a_line_a_value_with_one_compilation(fewstep, digits_run, tmp_path):
    loop = sys.modules["fewstep.samplers.loop"]._run
    words = ("--nfe", "2", "--sampler", "ddim,ddpm", "--sweep", "cfg.scale=1,2,4", "--count", 14, "--out", tmp_path)
    before = loop._cache_size()
    status, out, err = fewstep("compare", digits_run, *words, "--json")
    assert status == 0, err
    assert loop._cache_size() == before + 1
    cells = json.loads(out)["cells"]
    assert [cell["swept"] for cell in cells if cell["sampler"] == "ddim"] == [{"cfg.scale": v} for v in "124"]
    assert {cell["passes"] for cell in cells} == {4.0}
    assert len({cell["metrics"]["FD-pixels"][0] for cell in cells}) == 6


def test_json_is_all_of_stdout(fewstep, digits_run, tmp_path):
    words = ("--nfe", "1,2", "--sampler", "ddim", "--count", 12, "--out", tmp_path)
    status, out, _ = fewstep("compare", digits_run, *words, "--json")
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / "table.json").read_text())


@pytest.mark.slow
def test_the_page_has_the_command_that_draws_each_line(fewstep, digits_run, tmp_path):
    words = ("--nfe", 1, "--sampler", "ddim", "--grid", "karras", "--set", "karras.rho=5.0", "--lever", "clip_x0")
    sweeps = ("--sweep", "cfg.scale=1,2", "--sweep", "ddim.eta=0,1")
    status, out, err = fewstep("compare", digits_run, *words, *sweeps, "--count", 12, "--out", tmp_path, "--json")
    assert status == 0, err
    told = json.loads(out)
    (commands,) = told["commands"].values()
    command = commands["ddim cfg.scale=2 ddim.eta=1"]
    drawn = "--sampler ddim --nfe N --grid karras --lever clip_x0 --lever 'cfg(scale=2)' --set karras.rho=5.0"
    assert command == f"fewstep sample {digits_run} {drawn} --set ddim.eta=1"
    assert all(row["command"] for row in Page((tmp_path / "report.html").read_text()).data["groups"][0]["rows"])
    words = shlex.split(command.replace("--nfe N", "--nfe 1"))[1:]
    status, _, err = fewstep(*words, "--count", 2, "--out", tmp_path / "drawn.png")
    assert status == 0, err
    (record,) = told["models"].values()
    assert (record["checkpoint"], record["data"], record["trained_features"]) == (6, "digits", [])
    assert record["training_seconds"] > 0
    assert record["folder"] == str(digits_run)


@pytest.mark.slow
def test_a_classifier_of_the_run_gives_features_and_accuracy(fewstep, digits_run, tmp_path):
    digits_run = shutil.copytree(digits_run, tmp_path / "digits")
    status, _, err = fewstep("classifier", digits_run, "--steps", 60)
    assert status == 0, err
    share = float(err.split("classifies ")[1].split("%")[0])
    assert share > 80
    words = ("--nfe", "2", "--sampler", "ddim", "--count", 20, "--features", "pixels,classifier", "--out", tmp_path)
    status, out, err = fewstep("compare", digits_run, *words, "--metric", "FD,accuracy", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["metrics"] == ["FD-pixels", "FD-classifier", "accuracy-classifier"]
    (cell,) = told["cells"]
    assert 0 <= cell["metrics"]["accuracy-classifier"][0] <= 1
    assert told["floors"]["digits"]["accuracy-classifier"][0] > 0.8  # real images
    first = [p.name for p in (digits_run / "stats").iterdir()]
    status, out, err = fewstep("stats", digits_run, "--features", "pixels,classifier", "--count", 20)
    assert status == 0, err
    assert f"FD {told['floors']['digits']['FD-classifier'][0]:.4g}" in out
    assert [p.name for p in (digits_run / "stats").iterdir()] == first  # found, not computed again
    fewstep("classifier", digits_run, "--steps", 60)
    again = json.loads(fewstep("compare", digits_run, *words, "--metric", "FD,accuracy", "--json")[1])
    assert (again["cells"], again["floors"]) == (told["cells"], told["floors"])
    (digits_run / "classifier.npz").write_bytes(b"PK")
    refused(fewstep("compare", digits_run, *words), "classifier.npz is damaged", "fewstep classifier")


@pytest.mark.slow
def test_points_have_no_classifier(fewstep, moons_run):
    refused(fewstep("classifier", moons_run), "images with labels")
    refused(fewstep("compare", moons_run, "--features", "a.npz"), "grey or colour images")


def test_exact_comparisons_need_no_run(fewstep, tmp_path):
    words = ("--nfe", "1,4,16", "--sampler", "ddim,dpmpp_2m", "--grid", "uniform,log_snr")
    status, out, err = fewstep("compare", "--exact", "VP", "Linear", *words, "--gaussian", "0.1,0.5,1.0")
    assert status == 0, err
    assert "VP: FD-exact" in out
    assert "Linear: FD-exact" in out
    values = [float(v) for v in table(out)["dpmpp_2m"][1:]]
    assert values[2] < values[1] < values[0]
    status, _, err = fewstep("compare", "--exact", *words, "--out", tmp_path)
    assert status == 0, err
    assert (tmp_path / "report.html").exists()


def test_exact_comparisons_on_the_data_of_a_run(fewstep, digits_run):
    status, out, err = fewstep("compare", "--exact", digits_run, "--nfe", "64", "--sampler", "heun", "--json")
    assert status == 0, err
    (cell,) = json.loads(out)["cells"]
    assert cell["run"] == str(digits_run)
    assert cell["metrics"]["FD-exact"][0] < 0.01
    assert cell["ms_per_image"] == [None] * 3


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["Linnear"], ["did you mean 'Linear'"]),
        (["VP", "--gaussian", "1"], ["--gaussian 1"]),
        (["VP", "--gaussian", "1,-1"], ["--gaussian"]),
        (["VP", "--lever", "clip_x0"], ["leave levers out"]),
        (["VP", "--sweep", "cfg.scale=1,2"], ["leave levers out"]),
        (["VP", "--set", "Cosine.x=2.0"], ["Cosine", "'x'"]),
        (["VP", "--set", "Linear.x=2.0"], ["Linear", "'x'"]),
        (["VP", "--metric", "KID"], ["--exact samples no images", "--metric"]),
        (["VP", "--count", "9"], ["--count"]),
    ],
)
def test_what_is_wrong_with_an_exact_comparison_is_one_line(fewstep, words, parts):
    refused(fewstep("compare", "--exact", *words, "--nfe", 2), *parts)


def test_processes_are_set_where_there_is_no_run(fewstep):
    words = ("compare", "--exact", "Cosine", "VP", "--nfe", 2, "--sampler", "ddim", "--json")
    told = [json.loads(fewstep(*words, *options)[1]) for options in ((), ("--set", "VP.beta_max=10.0"))]
    plain, other = ({c["run"]: c["metrics"]["FD-exact"][0] for c in text["cells"]} for text in told)
    assert plain["Cosine"] == other["Cosine"]
    assert plain["VP"] != other["VP"]


def test_the_process_of_a_run_is_not_set(fewstep, digits_run):
    refused(fewstep("compare", "--exact", digits_run, "--set", "VP.beta_max=10.0", "--nfe", 2), "VP is not used")
