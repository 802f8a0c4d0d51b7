"""Folders of diffusers: copies of the digits' pipeline (tests/foreign) with other configs and files of weights."""

import json
import shutil
from pathlib import Path

from fewstep.zoo.files import safetensors

DIGITS = Path(__file__).parents[1] / "foreign" / "ddpm-digits"
UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def copied(folder):
    """A copy of the pipeline."""
    shutil.copytree(DIGITS, folder)
    return folder


def changed(folder, file, change=None, without=()):
    """The folder with other settings in a file; a setting may be any JSON."""
    said = json.loads((folder / file).read_text())
    said = {key: value for key, value in said.items() if key not in without} | (change or {})
    (folder / file).write_text(json.dumps(said))
    return folder


def scheduled(folder, name, **settings):
    """The folder with another scheduler, whose file has these settings and no others."""
    (folder / SCHEDULER).write_text(json.dumps({"_class_name": name} | settings))
    return folder


def in_root(folder, model="unet"):
    """The folder with all its files in the root, as google/ddpm-cat-256 has them."""
    for part in (model, "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    return folder


def sharded(folder, variant=""):
    """The folder with the weights in two files and an index."""
    arrays = safetensors.read(folder / WEIGHTS)
    names, index = sorted(arrays), {}
    for i, part in enumerate((names[:50], names[50:])):
        file = f"diffusion_pytorch_model{variant}-0000{i + 1}-of-00002.safetensors"
        safetensors.write(folder / "unet" / file, {name: arrays[name] for name in part})
        index |= dict.fromkeys(part, file)
    name = f"diffusion_pytorch_model.safetensors.index{variant}.json"
    (folder / "unet" / name).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / WEIGHTS).unlink()
    return folder
