"""fewstep train --init-from: a run that begins with another one's weights."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from one_line import refused

from fewstep import open_run
from fewstep.train.utils.sealed import read_config, write_config

HEAD = "configs/digits/npr.gin"


@pytest.fixture(scope="module")
def words(tiny):
    """Of training a second output beside the tiny run's network."""
    return [word for option in tiny for word in ("--set", option)]


@pytest.fixture
def npr(fewstep, digits_run, words, tmp_path):
    """A tiny second output."""
    status, _, err = fewstep("train", HEAD, "--run", tmp_path / "npr", "--init-from", digits_run, *words)
    assert status == 0, err
    assert f"starting from {digits_run} at step 6; fresh: variance" in err
    return tmp_path / "npr"


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), a, b))


@pytest.mark.slow
def test_what_is_not_trained_stays_to_the_last_bit(npr, digits_run, fewstep, words, tmp_path):
    """Under weight decay too; the mean that is drawn with is the one that was trained beside."""
    before, after = open_run(digits_run), open_run(npr)
    assert same(before.params, {name: after.params[name] for name in before.params})
    assert any(np.any(a) for a in jax.tree.leaves(after.params["variance"]["head"]))
    images = [run.draw("ddim", 3, range(4)) for run in (before, after)]
    np.testing.assert_allclose(*images, atol=1e-6)
    begun = json.loads((npr / "run.json").read_text())["begun"]
    assert (begun["step"], begun["weights"]) == (6, before.weights)
    decayed = ("train", HEAD, "--run", tmp_path / "b", "--init-from", digits_run, "--set", "adamw.weight_decay=0.1")
    assert fewstep(*decayed, *words)[0] == 0
    assert same(before.params, {name: open_run(tmp_path / "b").params[name] for name in before.params})


@pytest.mark.slow
def test_the_variance_is_drawn_with(npr, fewstep, tmp_path):
    told = open_run(npr).denoiser(np.zeros((2, 8, 8, 1), np.float32), 0.5).var
    assert told.shape == (2, 8, 8, 1)
    for more in ((), ("--lever", "averaged_variance"), ("--lever", "clip_x0")):
        words = ("--sampler", "analytic_ddpm", "--nfe", 4, "--count", 4, "--out", tmp_path / "a.png")
        status, _, err = fewstep("sample", npr, *words, *more)
        assert status == 0, err
    status, out, err = fewstep(
        "compare", npr, "--sampler", "ddpm,analytic_ddpm", "--nfe", 4, "--count", 16, "--metric", "bpd"
    )
    assert status == 0, err
    assert "bpd by network calls" in out


@pytest.mark.slow
def test_of_the_other_run_come_weights_alone(fewstep, digits_run, words, tmp_path):
    """Not what its config says of times, which are told no run while it trains."""
    losses = []
    for said in ("logit_normal.mean = 0.0", "logit_normal.mean = 2.0"):
        other = shutil.copytree(digits_run, tmp_path / said[-3:])
        text = read_config(other / "config.gin")
        assert "logit_normal.mean = 0.0" in text
        write_config(other / "config.gin", text.replace("logit_normal.mean = 0.0", said))
        run = tmp_path / f"run{said[-3:]}"
        more = ("train", "configs/digits/flow.gin", "--run", run, "--init-from", other, *words)
        assert fewstep(*more)[0] == 0
        losses.append([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_it_goes_on_without_and_with(npr, fewstep, digits_run, words):
    for more in ((), ("--init-from", digits_run)):
        shutil.rmtree(npr / "checkpoints" / "6")
        status, _, err = fewstep("train", HEAD, "--run", npr, *more, *words)
        assert status == 0, err
        assert (npr / "checkpoints" / "6").is_dir()


@pytest.mark.slow
def test_a_second_output_of_another_kind_begins_afresh(npr, fewstep, words, tmp_path):
    status, _, err = fewstep("train", "configs/digits/sn.gin", "--run", tmp_path / "sn", "--init-from", npr, *words)
    assert status == 0, err
    assert "fresh: variance" in err
    one, two = (open_run(run).params["variance"]["head"]["bias"] for run in (npr, tmp_path / "sn"))
    assert not np.allclose(one, two)


@pytest.mark.slow
def test_other_weights_are_refused(npr, fewstep, digits_run, words, tmp_path):
    other = shutil.copytree(digits_run, tmp_path / "other")
    shutil.rmtree(other / "checkpoints" / "6")
    refused(
        fewstep("train", HEAD, "--run", npr, "--init-from", other, *words),
        f"was started from the weights of {digits_run}",
    )
    run = shutil.copytree(digits_run, tmp_path / "run")
    plain = ("train", "configs/digits/flow.gin", "--run", run, *words)
    refused(fewstep(*plain, "--init-from", digits_run), "was started from fresh weights")
    shutil.rmtree(npr / "checkpoints")
    refused(fewstep("train", HEAD, "--run", npr, *words), "has no checkpoint yet", f"add --init-from {digits_run}")
    status, _, err = fewstep("train", HEAD, "--run", npr, "--init-from", other, *words)
    assert status == 0, err
    assert json.loads((npr / "run.json").read_text())["begun"]["step"] == 3
    (npr / "run.json").unlink()
    assert fewstep("train", HEAD, "--run", npr, "--init-from", other, *words)[0] == 0
    assert json.loads((npr / "run.json").read_text())["begun"]["step"] == 3


@pytest.mark.slow
def test_a_plain_run_begins_so_too(fewstep, digits_run, words, tmp_path):
    run = tmp_path / "more"
    more = ("train", "configs/digits/flow.gin", "--run", run, "--init-from", digits_run, *words)
    assert fewstep(*more, "--set", "adamw.lr=1e-30")[0] == 0
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=0, atol=1e-20), open_run(run).params, open_run(digits_run).params
    )


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ([], ["trains only the part variance of the network", "--init-from RUN"]),
        (["--init-from", "nowhere"], ["nowhere is not a run"]),
        (["--init-from", "{run}", "--set", "train.process=@VP()"], ["process is @Linear()", "@VP("]),
        (
            ["--init-from", "{run}", "--set", "train.prediction=%V"],
            ["prediction is %VELOCITY", "%V"],
        ),
        (["--init-from", "{run}", "--set", "UNet.base=16"], ["has shape", "the same network"]),
        pytest.param(
            ["--init-from", "{run}", "--set", "UNet.mult=(1, 2)"], ["the same network"], marks=pytest.mark.slow
        ),
        pytest.param(
            ["--init-from", "{run}", "--set", "UNet.blocks=2"],
            ["its network differs", "UNet.blocks = 2"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--init-from", "{run}", "--set", "train.conditional=False"],
            ["its network differs", "not in the config's"],
            marks=pytest.mark.slow,
        ),
        (["--init-from", "{run}", "--set", "train.variance=@NPR"], ["train.variance", "brackets"]),
        (["--init-from", "{run}", "--set", "train.objective=@denoising()"], ["does not train a second output"]),
        (["--init-from", "{run}", "--set", "train.variance=3"], ["train.variance"]),
    ],
)
def test_what_does_not_fit_is_one_line(fewstep, digits_run, words, tmp_path, more, parts):
    more = [word.format(run=digits_run) for word in more]
    refused(fewstep("train", HEAD, "--run", tmp_path / "new", *words, *more), *parts)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_learned_range_is_trained_and_drawn_with(fewstep, words, tmp_path):
    run = tmp_path / "range"
    status, _, err = fewstep("train", "configs/digits/range.gin", "--run", run, *words)
    assert status == 0, err
    assert "bound" in json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    asked = ("compare", run, "--sampler", "ddpm", "--sweep", "ddpm.variance=small,range", "--nfe", 4, "--count", 16)
    status, out, err = fewstep(*asked, "--metric", "bpd", "--json")
    assert status == 0, err
    small, between = (cell["metrics"]["bpd"][0] for cell in json.loads(out)["cells"])
    assert small != between
    assert any(np.any(a) for a in jax.tree.leaves(open_run(run).params["variance"]["head"]))
