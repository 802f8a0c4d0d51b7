"""Features by their name on the command line."""

from typing import Any

from fewstep.cli.errors import UserError
from fewstep.evaluation.features import Features, Pixels, classifier, encoders


def named(text: str, run: Any, option: str = "--features") -> Features:
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
