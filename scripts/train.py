"""fewstep train."""

import sys

from etils import epath

from scripts import config, parse
from scripts.errors import UserError
from scripts.signals import stopping
from train.files import write_atomic
from train.loop import prepare, train
from train.run import describe, write_description


def main(config_path, folder, overrides, trust):
    """Check everything that can be checked before anything is written, then train."""
    with stopping() as stop:
        training, told = resolved(config_path, overrides, trust)
        folder = _made(parse.path(folder, "--run"))
        _agrees(folder / "config.gin", told)
        if not (folder / "run.json").exists():
            write_description(folder, describe(training))
        write_atomic(folder / "config.gin", told)
        reached, steps = train(training, folder, stop), training.experiment.steps
    if reached < steps:
        print(f"stopped at step {reached} of {steps}; the same command goes on from there", file=sys.stderr)
    else:
        print(f"{folder}: {reached} steps done. Next: fewstep sample {folder}", file=sys.stderr)


def resolved(config_path, overrides, trust):
    """The training that a config describes, and all values that went into it as a config of their own."""
    path = config.find(config_path)
    config.load(path, overrides, trust)
    with config.translated(path):
        experiment = config.experiment()
        training = prepare(experiment, experiment.data())
    return training, config.operative(overrides)


def _made(folder) -> epath.Path:
    """The folder of the run, made if need be; a UserError where it cannot be, before anything is trained."""
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
        others = {p.name for p in path.parent.iterdir()} - {"run.json", ".lock"}
        others = sorted(name for name in others if not name.endswith(".tmp"))
        if others:
            raise UserError(f"{path.parent} holds other things ({', '.join(others[:3])}): give an empty folder")
        return
    if changed := config.difference(path.read_text(), told):
        raise UserError(
            f"the config contradicts the run {path.parent} (- the run, + now): {'; '.join(changed.splitlines())}. "
            f"Give another --run folder, or the run's own config: {path}"
        )
