"""Runs that learned to jump, from the command line: begun from another, drawn, compared, refused."""

import json
from functools import cache

import numpy as np
import pytest
from one_line import refused
from report_page import Page
from trained_run import trained

from fewstep import open_run
from fewstep.samplers.cost import passes

pytestmark = pytest.mark.slow
METHODS = {
    "meanflow": "UNet.fastest=16.0", "shortcut": "shortcut.sizes=3", "ect": "discrete_consistency.huber=0.01",
    "scm": "continuous_consistency.warmup=2", "imf": "imf.guidance=3.0",
    "sid": "sid.calls=2",
}  # fmt: skip


@pytest.fixture(scope="module")
def jumping(tiny, digits_run, tmp_path_factory):
    """jumping(method): a finished tiny run that began with another."""
    folder = tmp_path_factory.mktemp("few")

    @cache
    def made(name):
        options = [*tiny, METHODS[name]]
        trained(f"configs/digits/{name}.gin", folder / name, options, init_from=str(digits_run))
        return folder / name

    return made


def drawn(fewstep, tmp_path, *words):
    out = tmp_path / "some.png"
    status, _, err = fewstep("sample", *words, "--count", 4, "--out", out)
    assert status == 0, err
    with np.load(out.with_suffix(".npz")) as file:
        return file["images"], err


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("shortcut", "flow_map"),
        ("ect", "consistency"),
        ("sid", "consistency"),
    ],
)
def test_they_are_drawn_as_they_learned(fewstep, jumping, tmp_path, name, sampler):
    images, err = drawn(fewstep, tmp_path, jumping(name))
    assert f"4 images by {sampler} in 2 calls" in err
    again, _ = drawn(fewstep, tmp_path, jumping(name), "--sampler", sampler, "--nfe", 2)
    np.testing.assert_array_equal(images, again)
    clipped, _ = drawn(fewstep, tmp_path, jumping(name), "--lever", "clip_x0(-0.05, 0.05)")
    assert abs(clipped).max() <= 0.0500001
    last = json.loads((jumping(name) / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["FD-pixels"] > 0


def test_guidance_of_improved_meanflow_is_one_pass(fewstep, jumping, tmp_path):
    """In its trained scales; the run opens with the second output that training added."""
    run = open_run(jumping("imf"))
    table = run.table("flow_map", 2)
    assert passes(run.under("cfg(2)"), table) == 2
    assert passes(run.under("cfg(4)"), table) == 4
    plain, _ = drawn(fewstep, tmp_path, jumping("imf"))
    np.testing.assert_allclose(drawn(fewstep, tmp_path, jumping("imf"), "--lever", "cfg(1)")[0], plain, atol=1e-5)
    assert abs(drawn(fewstep, tmp_path, jumping("imf"), "--lever", "cfg(3)")[0] - plain).max() > 1e-4


def test_calls_are_those_of_the_sampler(fewstep, jumping, tmp_path):
    assert "by dpmpp_2m in 16 calls" in drawn(fewstep, tmp_path, jumping("shortcut"), "--sampler", "dpmpp_2m")[1]
    assert "by consistency in 2 calls" in drawn(fewstep, tmp_path, jumping("shortcut"), "--sampler", "consistency")[1]


def test_all_of_them_on_one_page(fewstep, digits_run, jumping, tmp_path):
    words = ("compare", digits_run, *map(jumping, METHODS), "--nfe", "1,2", "--count", 20, "--out", tmp_path)
    status, out, err = fewstep(*words)
    assert status == 0, err
    rows = {line.partition("  ")[0] for line in out.splitlines()}
    assert "ect consistency" in rows
    assert "ect ddim" not in rows  # what it did not learn has no row
    assert "digits ddim" in rows
    told = "ect does not support ddim, heun, dpmpp_2m, ddpm, euler_maruyama, flow_map"
    assert told in " ".join(out.split())
    table = json.loads((tmp_path / "table.json").read_text())
    assert {(cell["line"], cell["nfe"]) for cell in table["cells"] if cell["run"] == "ect"} == {
        ("consistency", 1), ("consistency", 2),
    }  # fmt: skip
    assert all(cell["nfe"] <= cell["budget"] for cell in table["cells"])
    (group,) = Page((tmp_path / "report.html").read_text()).data["groups"]
    assert {row["run"] for row in group["rows"]} == {"digits", *METHODS}


@pytest.mark.parametrize(
    ("name", "words", "parts"),
    [
        (
            "ect",
            ("sample", "--sampler", "ddim"),
            ["requires velocities at an instant", "learned only jumps to the data"],
        ),
        ("ect", ("sample", "--sampler", "flow_map"), ["requires jumps to any time", "choose another sampler"]),
        ("ect", ("compare", "--sampler", "ddim"), ["none of these runs supports ddim", "from consistency"]),
        ("ect", ("compare", "--metric", "trajectory"), ["requires a model that learned velocities at an instant"]),
        ("ect", ("calibrate",), ["learned jumps to the data only"]),
        ("ect", ("sample", "--grid", "dp", "--calibrate"), ["learned jumps to the data only"]),
        ("ect", ("pairs", "--count", "4"), ["requires velocities at an instant"]),
        ("shortcut", ("sample", "--trajectory"), ["flow_map predicts none"]),
        ("shortcut", ("compare", "--sampler", "consistency", "--metric", "bpd"), ["bpd requires ddpm"]),
    ],
)
def test_what_they_do_not_answer_is_one_line(fewstep, jumping, tmp_path, monkeypatch, name, words, parts):
    monkeypatch.chdir(tmp_path)
    verb, *rest = words
    refused(fewstep(verb, jumping(name), *rest), *parts)


def test_a_run_without_velocities_beside_samplers_that_need_them(fewstep, digits_run, jumping, tmp_path):
    words = ("compare", digits_run, jumping("ect"), "--sampler", "ddim", "--nfe", 2, "--out", tmp_path)
    refused(fewstep(*words), "ect does not support ddim", "add the sampler consistency")


def test_images_are_not_followed_up_where_no_velocity_is_known(fewstep, jumping, tmp_path):
    drawn(fewstep, tmp_path, jumping("ect"))
    words = ("sample", jumping("ect"), "--from", tmp_path / "some.npz", "--invert", "--out", tmp_path / "b.png")
    refused(fewstep(*words), "--invert requires velocities at an instant", "learned only jumps")


def test_a_teacher_tells_velocities(fewstep, tiny, jumping, tmp_path):
    words = [word for option in (*tiny, "discrete_consistency.teacher=True") for word in ("--set", option)]
    asked = ("train", "configs/digits/ect.gin", "--run", tmp_path / "run", *words)
    refused(fewstep(*asked, "--init-from", jumping("ect")), "this run learned only jumps")
    refused(fewstep(*asked), "learns from a teacher", "--init-from RUN")
