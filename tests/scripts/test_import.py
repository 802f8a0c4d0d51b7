"""fewstep import and export of a pipeline that diffusers trained on the digits (tests/foreign/README.md)."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from one_line import refused

from fewstep.cli.config.load import BINDINGS, canonical_text, experiment, load
from fewstep.cli.config.open_run import open_run
from fewstep.diffusion import LEVERS
from fewstep.errors import UsageError
from fewstep.samplers import SAMPLERS, supports
from fewstep.train.logs.jsonl import read as read_metrics
from fewstep.train.utils.sealed import read_config, sealed_json
from fewstep.zoo.files import safetensors

DIGITS = Path(__file__).parents[1] / "foreign" / "ddpm-digits"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The run of the pipeline, with the digits as its data."""
    from fewstep.cli.verbs.import_model import main

    folder = tmp_path_factory.mktemp("imported") / "ddpm"
    main(str(DIGITS), str(folder), None, None, "digits")
    return folder


def test_what_was_found_is_said(fewstep, tmp_path):
    status, _, err = fewstep("import", DIGITS, "--run", tmp_path / "run")
    assert status == 0, err
    for said in ("UNet2DModel of diffusers 0.42.1", "701,345 parameters", "images 8x8x1", "Discrete", "Indexed"):
        assert said in err
    assert "licence unknown" in err
    assert "clip_sample True" in err
    assert f'fewstep sample {tmp_path / "run"} --sampler ddpm --nfe 1000 --grid leading --lever "clip_x0()"' in err
    status, out, _ = fewstep("runs", tmp_path)
    assert "imported" in out


def test_the_command_that_reproduces_it_is_one(fewstep, imported, tmp_path):
    options = json.loads((imported / "run.json").read_text())["imported"]["options"]
    words = [word.replace("1000", "4") for word in shlex.split(options)]
    status, _, err = fewstep("sample", imported, *words, "--count", "2", "--out", tmp_path / "s.png")
    assert status == 0, err


def test_the_config_is_canonical(imported):
    text = read_config(imported / "config.gin")
    with BINDINGS:
        load(imported / "config.gin", includes=False)
        experiment()
        assert canonical_text() == text


def test_an_import_is_whole_or_nothing(fewstep, tmp_path, monkeypatch):
    from fewstep.zoo import importing

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_description", stop)
        assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 130
    assert list(tmp_path.iterdir()) == []
    assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    refused(fewstep("import", DIGITS, "--run", tmp_path / "run"), "is a run already", "a new folder")
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_mistakes_are_one_line(fewstep, tmp_path, monkeypatch):
    new = ("--run", tmp_path / "run")
    refused(fewstep("import", tmp_path / "nothing", *new), "does not exist", "nothing is downloaded")
    refused(fewstep("sample", DIGITS), "is not a run", f"fewstep import {DIGITS}")
    refused(fewstep("import", tmp_path, *new), "does not say which model it is of", "--as NAME", "docs/import.md")
    refused(fewstep("import", DIGITS, *new, "--as", "adm-265"), "no preset is called 'adm-265'", "adm-256")
    refused(fewstep("import", DIGITS, *new, "--data", "digitz"), "digits, or the path of a folder")
    wrong = np.zeros((20, 9, 9, 1), np.uint8)
    np.savez(tmp_path / "wrong.npz", images=wrong)
    refused(fewstep("import", DIGITS, *new, "--data", tmp_path / "wrong.npz"), "9x9x1", "8x8x1")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused(fewstep("import", DIGITS, *new), "not enough disk space", "MB")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "change", "parts"),
    [
        ("unet/config.json", {"block_out_channels": [32, 32]}, ["another network"]),
        ("unet/config.json", {"act_fn": "mish"}, ["act_fn", "mish"]),
        ("unet/config.json", {"up_block_types": ["UpBlock2D", "UpBlock2D"]}, ["mirror"]),
        ("unet/config.json", {"_class_name": "UNet3DModel"}, ["UNet3DModel"]),
        ("unet/config.json", {"layers_per_block": 2}, ["no array"]),
        ("scheduler/scheduler_config.json", {"_class_name": "MysteryScheduler"}, ["MysteryScheduler"]),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, ["prediction_type"]),
    ],
)
def test_other_networks_are_refused_by_what_differs(fewstep, tmp_path, file, change, parts):
    shutil.copytree(DIGITS, tmp_path / "copy")
    path = tmp_path / "copy" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(fewstep("import", tmp_path / "copy", "--run", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


def test_it_is_sampled_with_levers(imported):
    run = open_run(imported)
    plain = run.draw("ddim", 10, range(4), levers=["clip_x0"])
    assert plain.shape == (4, 8, 8, 1)
    assert np.isfinite(plain).all()
    assert abs(plain - run.draw("ddim", 10, range(4), levers=["clip_x0", "skip_tuning(0.9)"])).max() > 1e-3
    assert run.draw("ddim", 10, range(2), levers=["upsample_guidance(2)"]).shape == (2, 16, 16, 1)
    with pytest.raises(UsageError, match="trained without labels"):
        run.draw("ddim", 10, range(2), levers=["cfg(2)"])


def test_parameters_in_half_precision(imported):
    half, whole = open_run(imported, dtype="bfloat16"), open_run(imported)
    images = [run.draw("ddim", 4, range(4), levers=["clip_x0"]) for run in (half, whole)]
    assert 0 < abs(images[0] - images[1]).mean() < 0.05
    with pytest.raises(UsageError, match="float32 or bfloat16"):
        open_run(imported, dtype="bf16")


@pytest.mark.slow
def test_runs_without_data_are_compared_by_trajectories(fewstep, imported, tmp_path):
    assert fewstep("import", DIGITS, "--run", tmp_path / "run")[0] == 0
    options = ("--nfe", "2", "--count", "4", "--sampler", "ddim,dpmpp_2m")
    status, out, err = fewstep("compare", tmp_path / "run", *options)
    assert status == 0, err
    assert "trajectory" in out
    refused(fewstep("compare", tmp_path / "run", *options, "--metric", "FD"), "no data", "--data")
    status, out, err = fewstep("compare", tmp_path / "run", *options, "--data", "digits", "--metric", "FD")
    assert status == 0, err
    assert "FD-pixels" in out
    refused(fewstep("stats", tmp_path / "run"), "not known", "--data digits")
    assert fewstep("stats", tmp_path / "run", "--data", "digits", "--count", "20")[0] == 0
    assert fewstep("pairs", tmp_path / "run", "--count", "2", "--nfe", "3")[0] == 0
    np.savez(tmp_path / "wrong.npz", images=np.zeros((20, 9, 9, 1), np.uint8))
    words = ("compare", tmp_path / "run", *options, "--data", tmp_path / "wrong.npz")
    refused(fewstep(*words), "9, 9, 1", "data of its kind")
    refused(fewstep("train", imported / "config.gin", "--run", imported), "was imported", "--init-from")


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
    refused(fewstep("export", digits_run, tmp_path / "no", "--format", "diffusers"), "--format safetensors")
    assert fewstep("export", digits_run, tmp_path / "out")[0] == 0
    found = safetensors.read(tmp_path / "out" / "model.safetensors")
    assert found["stem.kernel"].shape == (3, 3, 1, 8)
    assert "train.network = @UNet" in (tmp_path / "out" / "config.gin").read_text()


MEANFLOW = (
    "train.objective=@meanflow()", "train.process=@Linear()", "train.prediction=@Transferred()",
    "Transferred.process=@Discrete()", "Transferred.prediction=@Indexed()", "Indexed.prediction=%EPS",
    "train.steps=40", "train.batch_size=32", "train.log_every=1", "train.preview_every=1000",
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


def test_the_network_we_do_not_know_of_the_page(monkeypatch):
    """With a stand-in of torch's arrays: NumPy's, in the form of a network that returns zeros."""
    (block,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "import.md").read_text(), re.S)
    block = block.replace("network = ...", "network = lambda x, t: 0 * x")
    block = block.replace("t.long()", "t").replace('framework="torch"', 'framework="numpy"')
    names = {}
    exec(block, names)
    assert names["images"].shape == (16, 28, 28, 1)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["discrete_consistency", "continuous_consistency", "shortcut"])
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


def test_double_precision_comes_back_bit_for_bit(fewstep, tmp_path):
    shutil.copytree(DIGITS, tmp_path / "double")
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=array.shape) for name, array in safetensors.read(DIGITS / WEIGHTS).items()}
    safetensors.write(tmp_path / "double" / WEIGHTS, arrays)
    assert fewstep("import", tmp_path / "double", "--run", tmp_path / "run")[0] == 0
    assert fewstep("export", tmp_path / "run", tmp_path / "out", "--format", "diffusers")[0] == 0
    back = safetensors.read(tmp_path / "out" / WEIGHTS)
    assert all(back[name].dtype == np.float64 and (back[name] == array).all() for name, array in arrays.items())


def test_paths_of_the_run(fewstep, tmp_path):
    (tmp_path / "file").write_text("")
    refused(fewstep("import", DIGITS, "--run", tmp_path / "file" / "run"), "a file is in the way")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert fewstep("import", DIGITS, "--run", tmp_path / "link")[0] == 0
    assert (tmp_path / "there" / "config.gin").exists()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.slow
def test_it_is_tuned_into_meanflow(fewstep, imported, tmp_path):
    words = [word for override in MEANFLOW for word in ("--set", override)]
    status, _, err = fewstep(
        "train", imported / "config.gin", "--run", tmp_path / "mf", "--init-from", imported, *words
    )
    assert status == 0, err
    flow = [line["flow"] for line in read_metrics(tmp_path / "mf" / "metrics.jsonl")]
    assert np.mean(flow[-10:]) < np.mean(flow[:10])
    assert open_run(tmp_path / "mf").draw("flow_map", 1, range(2)).shape == (2, 8, 8, 1)


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
