"""What an imported run can do: export, few-step objectives, every verb, sampler and lever."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from one_line import refused

from fewstep import distances
from fewstep.cli.config.open_run import open_run
from fewstep.diffusion import LEVERS
from fewstep.errors import UsageError
from fewstep.samplers import SAMPLERS, supports
from fewstep.train.utils.sealed import sealed_json
from fewstep.zoo.files import safetensors

DIGITS = Path(__file__).parents[1] / "foreign" / "ddpm-digits"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_export_gives_the_arrays_back_bit_for_bit(fewstep, imported, tmp_path):
    status, _, err = fewstep("export", imported, tmp_path / "out", "--format", "diffusers")
    assert status == 0, err
    ours, theirs = (safetensors.read(folder / WEIGHTS) for folder in (tmp_path / "out", DIGITS))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype == theirs[name].dtype and (ours[name] == theirs[name]).all() for name in theirs)
    for name in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (DIGITS / name).read_bytes()
    refused(fewstep("export", imported, tmp_path / "out"), "not empty", "new folder")


def test_export_of_our_own_network(fewstep, digits_run, tmp_path):
    refused(
        fewstep("export", digits_run, tmp_path / "no", "--format", "diffusers"),
        "the network UNet,",
        "--format safetensors",
    )
    assert fewstep("export", digits_run, tmp_path / "out")[0] == 0
    found = safetensors.read(tmp_path / "out" / "model.safetensors")
    assert found["stem.kernel"].shape == (3, 3, 1, 8)
    assert "train.network = @UNet" in (tmp_path / "out" / "config.gin").read_text()


UNET2D = (
    "train.network=@UNet2D", "UNet2D.channels=(8, 16)", "UNet2D.blocks=1", "UNet2D.groups=4", "UNet2D.attention=(4,)",
    "train.conditional=False", "train.process=@Discrete()", "train.prediction=@Indexed()", "Indexed.prediction=%EPS",
    "train.steps=4", "train.batch_size=8", "train.preview_every=4", "train.save_every=4",
)  # fmt: skip


@pytest.mark.slow
def test_a_network_trained_here_is_exported_to_diffusers_and_imported_again(fewstep, tmp_path):
    words = [word for option in UNET2D for word in ("--set", option)]
    assert fewstep("train", "configs/digits/flow.gin", "--run", tmp_path / "run", *words)[0] == 0
    status, _, err = fewstep("export", tmp_path / "run", tmp_path / "out", "--format", "diffusers")
    assert status == 0, err
    status, _, err = fewstep("import", tmp_path / "out", "--run", tmp_path / "again")
    assert status == 0, err
    one, other = (open_run(tmp_path / name).draw("ddim", 3, range(4)) for name in ("run", "again"))
    np.testing.assert_allclose(one, other, atol=1e-5)
    refused(fewstep("export", tmp_path / "run", tmp_path / "no", "--format", "original"), "was not imported")


MEANFLOW = (
    "train.objective=@meanflow()", "train.process=@Linear()", "train.prediction=@Transferred()",
    "Transferred.process=@Discrete()", "Transferred.prediction=@Indexed()", "Indexed.prediction=%EPS",
    "train.steps=100", "train.batch_size=32", "train.log_every=1", "train.preview_every=1000",
)  # fmt: skip


@pytest.mark.slow
def test_the_example_of_the_page(fewstep, tmp_path, monkeypatch):
    """Word for word, with few steps and images."""
    shutil.copytree(DIGITS, tmp_path / "tests" / "foreign" / "ddpm-digits")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    example = page.partition("## An example")[2].partition("\n## ")[0]
    commands = [shlex.split(line) for line in re.findall(r"^    fewstep (.*)$", example, re.M)]
    assert [command[0] for command in commands] == ["import", "compare", "train"]
    short = {"compare": ["--count", "20"], "train": ["--set", "train.steps=2", "--set", "train.batch_size=8"]}
    for command in commands:
        status, _, err = fewstep(*command, *short.get(command[0], []))
        assert status == 0, err


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["continuous_consistency", "shortcut"])
def test_it_is_tuned_into_other_few_step_models(fewstep, imported, tmp_path, objective):
    words = [f"train.objective=@{objective}()", *MEANFLOW[1:], "train.steps=3"]
    words = [word for override in words for word in ("--set", override)]
    train = ("train", imported / "config.gin", "--run", tmp_path / "run", "--init-from", imported)
    status, _, err = fewstep(*train, *words)
    assert status == 0, err
    assert np.isfinite(
        open_run(tmp_path / "run").draw("consistency" if "cons" in objective else "flow_map", 1, [0])
    ).all()
    refused(fewstep("export", tmp_path / "run", tmp_path / "out", "--format", "diffusers"), "--format safetensors")


@pytest.mark.slow
def test_its_flow_is_straightened(fewstep, imported, tmp_path):
    assert fewstep("pairs", imported, "--count", "16", "--nfe", "9", "--out", tmp_path / "pairs")[0] == 0
    words = ["train.objective=@reflow()", "train.pairs=@pairs", f"pairs.path={tmp_path / 'pairs'}", "train.steps=2"]
    words += [*MEANFLOW[1:6], "train.batch_size=8", *MEANFLOW[8:]]
    words = [word for override in words for word in ("--set", override)]
    train = ("train", imported / "config.gin", "--run", tmp_path / "run", "--init-from", imported, *words)
    status, _, err = fewstep(*train)
    assert status == 0, err
    assert np.isfinite(open_run(tmp_path / "run").draw("ddim", 1, [0])).all()


@pytest.mark.slow
def test_export_after_training(fewstep, imported, tmp_path):
    small = ("--set", "train.steps=1", "--set", "train.batch_size=8", "--set", "train.preview_every=10")
    for begin, run in ((imported, "one"), (tmp_path / "one", "two")):
        words = ("train", imported / "config.gin", "--run", tmp_path / run, "--init-from", begin, *small)
        assert fewstep(*words)[0] == 0
    assert fewstep("export", tmp_path / "two", tmp_path / "out", "--format", "diffusers")[0] == 0
    ours, theirs = (safetensors.read(folder / WEIGHTS) for folder in (tmp_path / "out", DIGITS))
    assert {name: (array.dtype, array.shape) for name, array in ours.items()} == {
        name: (array.dtype, array.shape) for name, array in theirs.items()
    }
    assert any((ours[name] != theirs[name]).any() for name in theirs)


def test_a_run_folder_of_a_stranger_writes_nothing_outside(fewstep, imported, tmp_path):
    shutil.copytree(imported, tmp_path / "evil")
    value = json.loads((tmp_path / "evil" / "foreign.json").read_text())
    value["texts"]["../../escaped.txt"] = "here"
    value.pop("sha256")
    (tmp_path / "evil" / "foreign.json").write_text(sealed_json(value))
    refused(fewstep("export", tmp_path / "evil", tmp_path / "a" / "out", "--format", "diffusers"), "outside its folder")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "escaped.txt").exists()


@pytest.mark.slow
def test_double_precision_comes_back_bit_for_bit(fewstep, tmp_path):
    shutil.copytree(DIGITS, tmp_path / "double")
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=array.shape) for name, array in safetensors.read(DIGITS / WEIGHTS).items()}
    safetensors.write(tmp_path / "double" / WEIGHTS, arrays)
    assert fewstep("import", tmp_path / "double", "--run", tmp_path / "run")[0] == 0
    assert fewstep("export", tmp_path / "run", tmp_path / "out", "--format", "diffusers")[0] == 0
    back = safetensors.read(tmp_path / "out" / WEIGHTS)
    assert all(back[name].dtype == np.float64 and (back[name] == array).all() for name, array in arrays.items())


@pytest.mark.slow
def test_it_is_tuned_into_meanflow(fewstep, imported, tmp_path):
    """Its images of one call are nearer to the data's than those of one step of DDIM.  The loss does not tell: its
    targets move with the network, and the velocity was learned before."""
    words = [word for override in MEANFLOW for word in ("--set", override)]
    status, _, err = fewstep(
        "train", imported / "config.gin", "--run", tmp_path / "mf", "--init-from", imported, *words
    )
    assert status == 0, err
    before, after = open_run(imported), open_run(tmp_path / "mf")
    real = after.data.held_out[:].image
    first, now = (
        distances(run.draw(sampler, 1, range(300)), real, metrics="FD")["FD-pixels"].value
        for run, sampler in ((before, "ddim"), (after, "flow_map"))
    )
    assert now < 0.8 * first


@pytest.mark.slow
def test_every_verb_takes_it(fewstep, imported, tmp_path):
    six = "ddim,heun,dpmpp_2m,unipc,ddpm,euler_maruyama"
    for words in (
        ("compare", imported, "--nfe", "4,8", "--count", "50", "--sampler", six),
        ("calibrate", imported, "--count", "20", "--points", "5"),
        ("tune-skips", imported, "--sampler", "ddim", "--nfe", "4", "--count", "50", "--values", "0.9,1"),
        ("sample", imported, "--sampler", "analytic_ddpm", "--nfe", "4", "--count", "2", "--out", tmp_path / "a.png"),
        ("pairs", imported, "--count", "4", "--nfe", "9"),
    ):
        status, _, err = fewstep(*words)
        assert status == 0, err


@pytest.mark.slow
def test_every_sampler_and_lever_takes_it_or_is_refused_by_name(imported):
    run = open_run(imported, calibrate=True)
    for name, sampler in SAMPLERS.items():
        if supports(run.denoiser, sampler):
            assert run.draw(name, 6, range(2)).shape == (2, 8, 8, 1), name
        else:
            with pytest.raises(UsageError):
                run.draw(name, 6, range(2))
    texts = {"cfg": "cfg(2)", "cfg_pp": "cfg_pp(0.5)", "apg": "apg(2)", "rescale": "rescale(0.5)"}
    for name in LEVERS:
        refusal = None
        try:
            assert len(run.draw("ddim", 4, range(2), levers=[texts.get(name, name)])) == 2
        except UsageError as error:
            refusal = str(error)
        assert refusal is None or name in refusal
