"""fewstep stats."""

from fewstep.cli import parse
from fewstep.cli.options import Reading
from fewstep.cli.verbs.features import named
from fewstep.cli.verbs.sampling import read
from fewstep.evaluation.distances import Frechet
from fewstep.evaluation.reference import cached_features, reference
from fewstep.ranges import MOST_IMAGES, within


def main(folder: str, features: str, count: int, reading: Reading) -> None:
    """Compute the features of a run's real images, and print how far training images are from held-out ones."""
    within(count, "--count", 2, MOST_IMAGES)
    run = read(folder, reading)
    real = reference(run.data, count)
    for kind in (named(text, run) for text in parse.words(features, "--features")):
        held_out, seen = (cached_features(kind, images, run.folder / "stats") for images in real)
        floor = Frechet(held_out)(seen)["FD"].interval(0.0)
        print(
            f"{kind.name}: {held_out.shape[1]} features of {len(held_out)} held-out and {len(seen)} training images; "
            f"FD {floor.value:.4g} ({floor.low:.4g} to {floor.high:.4g})"
        )
