"""Features by their name on the command line."""

from fewstep.cli.errors import UserError
from fewstep.evaluation.features import Features, Pixels, classifier, encoders
from fewstep.train.run import Run


def named(text: str, run: Run) -> Features:
    """pixels, the classifier of the run, or an encoder by the path of its weights."""
    if text == "pixels":
        return Pixels(run.shape)
    if text == "classifier":
        return classifier.load(run)
    if "." not in text and "/" not in text:
        raise UserError(f"--features {text}: write pixels, classifier, or the path of a weights file")
    if len(run.shape) != 3 or run.shape[-1] not in (1, 3):
        raise UserError(f"--features {text}: encoders need grey or colour images, and {run.folder} has none")
    return encoders.load(text)
