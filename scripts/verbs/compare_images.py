"""fewstep compare --images."""

from fewstep.cli import parse
from fewstep.cli.errors import UserError
from fewstep.evaluation.images import distances
from fewstep.train.utils.files import dumps


def main(folders: list[str], metrics: str, as_json: bool) -> None:
    """Print the distances of the first images from the second ones."""
    if len(folders) != 2:
        raise UserError("--images takes two folders or .npz files: the drawn images, then the real ones")
    found = distances(*folders, metrics=parse.words(metrics, "--metric"))
    print(dumps({name: value._asdict() for name, value in found.items()}, indent=1) if as_json else found)
