"""Features by their name on the command line, and those that an objective trains on."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from fewstep.cli import parse
from fewstep.cli.errors import UserError
from fewstep.diffusion.denoiser import names_of
from fewstep.evaluation.features import Differentiable, Pixels, classifier, encoders
from fewstep.evaluation.reference import reference
from fewstep.train.data.dataset import Dataset
from fewstep.train.experiment import Experiment
from fewstep.train.objectives.frechet import Frechet, Measured
from fewstep.train.run.run import read_description


class Start(NamedTuple):
    """The run that training starts from, as far as its features need it."""

    folder: epath.Path
    shape: tuple
    data: Dataset


def with_features(
    experiment: Experiment, data: Dataset, folder: epath.Path, init_from: epath.PathLike | None
) -> Experiment:
    """The experiment of the run in `folder`, whose objective has loaded the features that it trains on, if any.

    A classifier is that of `init_from`, or of the run that this one was started from.
    """
    objective = experiment.objective
    if not isinstance(objective, Frechet):
        return experiment
    known = read_description(folder) if (folder / "run.json").exists() else {}
    begun = init_from or known.get("begun", {}).get("run")
    if begun is None:
        raise UserError(
            f"the objective goes on from a run that learned {names_of(objective.requires)}: give init_from=RUN"
        )
    start, images = Start(epath.Path(begun), tuple(data.shape), data), reference(data, None).training
    kinds = [named(text, start, "frechet.features") for text in parse.words(objective.features, "frechet.features")]
    if len({kind.name for kind in kinds}) < len(kinds):
        raise UserError(f"frechet.features = {objective.features!r}: two kinds have the same name, so use one of them")
    return replace(experiment, objective=replace(objective, known=tuple(_measured(kind, images) for kind in kinds)))


def _measured(kind, images):
    """Features with their moments over images."""
    found = kind(images)
    return Measured(kind.name, kind.digest, kind.apply, kind.params, found.mean(0), np.atleast_2d(np.cov(found.T)))


def named(text: str, run: Any, option: str = "--features") -> Differentiable:
    """pixels, the classifier of the run, or an encoder by the path of its weights."""
    if text == "pixels":
        return Pixels(run.shape)
    if text == "classifier":
        return classifier.load(run)
    if "." not in text and "/" not in text:
        raise UserError(f"{option} {text}: write pixels, classifier, or the path of a weights file")
    if len(run.shape) != 3 or run.shape[-1] not in (1, 3):
        raise UserError(f"{option} {text}: encoders need grey or colour images, and {run.folder} has none")
    return encoders.load(text)
