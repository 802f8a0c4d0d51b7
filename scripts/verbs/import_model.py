"""fewstep import."""

from pathlib import Path
from shlex import quote

from etils import epath

from fewstep.cli import parse
from fewstep.cli.config.load import BINDINGS, experiment, load_text
from fewstep.cli.config.messages import building
from fewstep.cli.config.registry import CONSTANTS
from fewstep.cli.config.text import config_text
from fewstep.cli.errors import UserError
from fewstep.diffusion.prediction import Prediction
from fewstep.train.data.absent import named, no_data
from fewstep.train.experiment import Experiment
from fewstep.train.optimizers import adamw
from fewstep.train.utils.files import absolute, is_remote
from fewstep.train.utils.messages import say
from fewstep.zoo import importing
from fewstep.zoo.found import Found
from fewstep.zoo.sources import find


def main(source: str, folder: str, name: str | None, weights: str | None, data: str | None) -> None:
    """Make a run of a foreign model, and print what was found."""
    for text, option in ((source, "the source"), (folder, "--run")):
        if is_remote(text):
            raise UserError(f"{option} {text}: models are imported from and to local folders")
    where, run = Path(source), Path(absolute(parse.path(folder, "--run")))
    found = find(where, name, weights)
    importing.check_folder(run, found)
    real = named(data, found.shape) if data is not None else no_data
    text = config_text(
        {
            "data": real,
            "network": found.network,
            "objective": found.objective,
            "optimizer": adamw,
            "process": found.process,
            "prediction": found.prediction,
            "variance": found.variance,
            "conditional": bool(found.classes),
        }
    )
    with BINDINGS, building("the config of this run"):
        load_text(epath.Path(run) / "config.gin", text)
        made: Experiment = experiment()
    names = ()
    if data is not None:
        dataset, classes = real(), found.classes
        if tuple(dataset.shape) != found.shape or (classes and dataset.classes != classes):
            raise UserError(
                f"--data {data}: {dataset}, and the model has images {'x'.join(map(str, found.shape))} and "
                f"{classes or 'no'} classes: give data of its kind"
            )
        names = dataset.names if classes else ()
    try:
        known = importing.write_run(run, found, made, text, names, where)
    except KeyboardInterrupt:
        say("stopped: no run was made" if not (run / "config.gin").exists() else f"stopped: {folder} was made")
        raise
    say("\n".join(_summary(found, known, made.prediction, folder)))


def _short(text):
    """A process may have a thousand levels."""
    return text if len(text) < 200 else f"{text[:80]} ... {text[-40:]}"


def _named(prediction):
    """With the names that configs have for its parts."""
    text = repr(prediction)
    for name, constant in CONSTANTS.items():
        text = text.replace(repr(constant), name)
    return text


def _summary(found: Found, known: dict, prediction: Prediction, run: str) -> list[str]:
    """What was found, a line each."""
    form = "x".join(map(str, found.shape))
    learned = " and a variance" * (found.variance is not None)
    classes = f"{found.classes} classes" if found.classes else "no labels"
    lines = [
        f"{run}: {found.kind}, {known['parameters']:,} parameters, images {form}, {classes}",
        f"  process {_short(str(found.process))}",
        f"  prediction {_named(prediction)}{learned}",
        f"  licence {found.licence}",
    ]
    if found.chosen:
        lines.append(f"  weights {found.chosen}, one of several sets: --weights takes another")
    if found.sampled:
        lines.append(f"  sampling settings: {', '.join(f'{key} {value}' for key, value in found.sampled.items())}")
    if found.differs:
        lines.append(f"  of these the command below leaves out: {found.differs}")
    return [*lines, f"Next: fewstep sample {quote(run)} {found.options}".rstrip()]
