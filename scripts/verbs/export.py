"""fewstep export."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.cli import parse
from fewstep.cli.config.open_run import open_run
from fewstep.cli.errors import UserError
from fewstep.samplers.loop import fetched
from fewstep.train.run import Run
from fewstep.train.run.run import read_description
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.messages import say
from fewstep.train.utils.sealed import read_config
from fewstep.zoo import record
from fewstep.zoo.files import safetensors
from fewstep.zoo.layout import paths

FORMATS = ("diffusers", "safetensors")


def main(folder: str, out: str, form: str, step: int | None, trust: bool) -> None:
    """Write the averaged weights of a run in a form that other programs read."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: write {' or '.join(FORMATS)}")
    target = Path(parse.path(out, "OUT"))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not empty: export to a new folder")
    run = open_run(parse.path(folder, "the run"), trust, step)
    write = _own if form == "safetensors" else _foreign
    written = write(run, target)
    say(f"{run.folder}: {len(written)} arrays of step {run.step} in {target}")


def _foreign(run: Run, target: Path) -> dict[str, np.ndarray]:
    """In the form of the files that the run, or the one that it was started from, was imported from."""
    begun = read_description(run.folder).get("begun") or {}
    kept = record.read(Path(run.folder))
    if kept is None and begun:
        kept = record.read(Path(begun["run"]))
    if kept is None:
        raise UserError(
            f"{run.folder}: no class of diffusers computes what this network does (it was not imported): use --format "
            f"safetensors"
        )
    arrays = kept.arrays(_on_host(run.params))
    for name, text in kept.texts.items():
        write_atomic(target / name, text)
    safetensors.write(target / kept.weights, arrays, {"format": "pt"})
    return arrays


def _own(run: Run, target: Path) -> dict[str, np.ndarray]:
    """Our parameters by their paths, with the config that they belong to."""
    arrays = {".".join(map(str, path)): np.asarray(value) for path, value in paths(_on_host(run.params))}
    config = read_config(run.folder / "config.gin")
    write_atomic(target / "config.gin", config)
    write_atomic(target / "README.md", README.format(step=run.step))
    form = {"shape": json.dumps(list(run.shape)), "classes": str(run.model.classes), "step": str(run.step)}
    safetensors.write(target / "model.safetensors", arrays, {"framework": "fewstep", **form})
    return arrays


def _on_host(params) -> Any:
    return {name: _on_host(value) if isinstance(value, dict) else fetched(value) for name, value in params.items()}


README = """# A network of fewstep

model.safetensors has the averaged parameters at step {step}, by their paths in the network of config.gin; the shape of
an image and the number of classes are in its metadata.  Kernels are (inputs, outputs) and (height, width, inputs,
outputs), images channels last.

    import fewstep, safetensors.numpy
    arrays = safetensors.numpy.load_file("model.safetensors")
"""
