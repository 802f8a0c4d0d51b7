"""fewstep train."""

import sys
from pathlib import Path

from scripts import config
from scripts.errors import UserError
from train.data import Batches
from train.files import write_atomic
from train.loop import train
from train.run import describe, write_description
from train.sharding import make_mesh


def main(config_path, folder, overrides, trust):
    """Check everything that can be checked before anything is written, then train."""
    told = config.load(config.find(config_path), overrides, trust)
    experiment = config.experiment()
    data = experiment.data()
    Batches(data.train, experiment.batch_size)
    make_mesh(experiment.mesh)
    _, shapes = experiment.abstract(data.shape, data.classes)
    folder = _made(folder)
    _agrees(folder / "config.gin", told)
    if not (folder / "config.gin").exists():
        write_description(folder, describe(experiment, data, shapes))
        write_atomic(folder / "config.gin", told)
    reached = train(experiment, data, folder)
    if reached < experiment.steps:
        print(f"stopped at step {reached} of {experiment.steps}; the same command goes on from there", file=sys.stderr)
    else:
        print(f"{folder}: {reached} steps done. Next: fewstep sample {folder}", file=sys.stderr)


def _made(folder) -> Path:
    """The folder of the run, made if need be; a UserError where it cannot be, before anything is trained."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}") from None
    return folder


def _agrees(path, told):
    """A run that exists must have been told the same."""
    if not path.exists():
        others = {p.name for p in path.parent.iterdir()} - {"run.json", "run.json.tmp", "config.gin.tmp"}
        if others:
            raise UserError(f"{path.parent} holds other things ({', '.join(sorted(others)[:3])}): give an empty folder")
        return
    if changed := config.difference(path.read_text(), told):
        raise UserError(
            f"the config contradicts the run {path.parent} (- the run, + now): {'; '.join(changed.splitlines())}. "
            f"Give another --run folder, or the run's own config: {path}"
        )
