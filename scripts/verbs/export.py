"""fewstep export."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from etils import epath

from fewstep.cli import parse
from fewstep.cli.config.load import BINDINGS, experiment, load, network
from fewstep.cli.config.messages import building
from fewstep.cli.config.open_run import open_run
from fewstep.cli.errors import UserError
from fewstep.diffusion.foreign import Transferred
from fewstep.errors import UsageError
from fewstep.samplers.loop import fetched
from fewstep.train.objectives import Objective
from fewstep.train.run import Run
from fewstep.train.run.run import read_description
from fewstep.train.utils.files import absolute, write_atomic
from fewstep.train.utils.messages import say
from fewstep.train.utils.sealed import read_config
from fewstep.train.utils.temporary import check_new, whole
from fewstep.zoo import record
from fewstep.zoo.diffusers_export import pipeline
from fewstep.zoo.files import safetensors
from fewstep.zoo.layout import paths

FORMATS = ("diffusers", "original", "safetensors")
PLAIN = "use --format safetensors"
INDEX = "model_index.json"  # of a pipeline of diffusers


def main(folder: str, out: str, form: str, step: int | None, trust: bool) -> None:
    """Write the averaged weights of a run in a form that other programs read."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: write one of {', '.join(FORMATS)}")
    target = Path(absolute(parse.path(out, "OUT")))
    check_new(target, "export to")
    run = open_run(parse.path(folder, "the run"), trust, step)
    if form == "safetensors":
        texts, file, arrays, metadata = _own(run)
    elif form == "diffusers" and _begun(run.folder)[1] is None:
        texts, file, arrays, metadata = _pipeline(run, trust)
    else:
        texts, file, arrays, metadata = _foreign(run, form, trust)
    with whole(target) as partial:
        for name, text in texts.items():
            write_atomic(partial / name, text)
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        safetensors.write(partial / file, arrays, metadata)
    say(f"{target}: {len(arrays)} arrays of {run.folder} at step {run.step}")


def _foreign(run: Run, form: str, trust: bool) -> tuple:
    """In the form of the files that the run, or one that it descends from, was imported from."""
    origin, known = _begun(run.folder)
    if known is None:
        raise UserError(f"{run.folder} was not imported, so there is no original form to write it in: {PLAIN}")
    kind = read_description(origin)["imported"]["kind"]
    if form == "diffusers" and not any(name.endswith("config.json") for name in known.texts):
        raise UserError(f"{run.folder} is a {kind}, which diffusers does not open: use --format original")
    with BINDINGS, building(origin):
        load(epath.Path(origin) / "config.gin", trust=trust, includes=False)
        was = experiment()
    ours, learned = run.model.prediction, run.model.capabilities
    now = (ours.process, ours.prediction) if isinstance(ours, Transferred) else (run.model.process, ours)
    if now != (was.process, was.prediction) or learned != cast(Objective, was.objective).capabilities:
        raise UserError(f"{run.folder} learned something else than {origin}, whose form would be read wrongly: {PLAIN}")
    if others := _components(known.texts):
        say(f"the pipeline also has {', '.join(others)}, which was not imported: copy that from where it came from")
    texts = known.texts or {"README.md": f"The arrays of a {kind}, by their own names, in safetensors.\n"}
    return texts, known.weights, known.arrays(_on_host(run.params)), {"format": "pt"}


def _components(texts: Mapping[str, str]) -> list[str]:
    """The parts of a pipeline that are not among these files."""
    parts = json.loads(texts.get(INDEX, "{}"))
    folders = {name.partition("/")[0] for name in texts if "/" in name}
    named = [name for name, value in parts.items() if isinstance(value, list) and any(value)]
    return [name for name in named if folders and name not in folders]


def _begun(folder: epath.Path) -> tuple[Path, record.Foreign | None]:
    """The run that a run descends from, and what that one keeps of foreign files if it was imported."""
    at = Path(folder)
    for _ in range(100):
        if known := record.read(at):
            return at, known
        if not (begun := read_description(at).get("begun")):
            return at, None
        if not Path(begun["run"]).exists():
            raise UserError(f"{at} was started from {begun['run']}, which is not there: move it back, or {PLAIN}")
        at = Path(begun["run"])
    raise UserError(f"{folder} was started from itself: {PLAIN}")


def _pipeline(run: Run, trust: bool) -> tuple:
    """A network that was trained here, as a pipeline of diffusers."""
    with BINDINGS, building(run.folder):
        load(run.folder / "config.gin", trust=trust, includes=False)
        name, arguments = network()
    if name != "UNet2D":
        raise UserError(f"{run.folder} has the network {name}, of which diffusers has no form: {PLAIN}")
    try:
        found = pipeline(arguments, run.model, run.shape, _on_host(run.params))
    except UsageError as error:
        raise UserError(f"{run.folder}: {error}: {PLAIN}") from None
    return *found, {"format": "pt"}


def _own(run: Run) -> tuple:
    """Our parameters by their paths, with the config that they belong to."""
    arrays = {".".join(map(str, path)): np.asarray(value) for path, value in paths(_on_host(run.params))}
    licence = (read_description(run.folder).get("imported") or {}).get("licence")
    readme = README.format(step=run.step) + (f"\nLicence of the imported weights: {licence}\n" if licence else "")
    texts = {"config.gin": read_config(run.folder / "config.gin"), "README.md": readme}
    form = {"shape": json.dumps(list(run.shape)), "classes": str(run.model.classes), "step": str(run.step)}
    return texts, "model.safetensors", arrays, {"framework": "fewstep", **form}


def _on_host(params: Any) -> Any:
    return {name: _on_host(value) if isinstance(value, dict) else fetched(value) for name, value in params.items()}


README = """# A network of fewstep

model.safetensors has the averaged parameters at step {step}, by their paths in the network of config.gin; the shape of
an image and the number of classes are in its metadata.  Kernels are (inputs, outputs) and (height, width, inputs,
outputs), images channels last.
"""
