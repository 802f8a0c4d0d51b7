"""fewstep classifier."""

from fewstep.cli.options import Reading
from fewstep.cli.verbs.sampling import read
from fewstep.evaluation.features import classifier, quantized
from fewstep.evaluation.reference import MOST
from fewstep.ranges import within
from fewstep.train.utils.messages import say


def main(folder: str, steps: int, seed: int, reading: Reading) -> None:
    """Train a classifier on the data of a run and store it there."""
    within(steps, "--steps", 1, 1_000_000)
    run = read(folder, reading)
    params = classifier.train(run.data, steps, seed)
    held_out = run.data.held_out[: min(MOST, len(run.data.held_out))]
    made = classifier.Classifier(params, "")
    right = made.logits(quantized(held_out.image)).argmax(1) == held_out.label
    classifier.save(run.folder, params, run.data)
    metrics = "FD,accuracy" if run.denoiser.classes else "FD"
    say(
        f"{run.folder / classifier.NAME}: classifies {right.mean():.1%} of {len(right)} held-out images correctly. "
        f"Next: fewstep compare {folder} --features pixels,classifier --metric {metrics}"
    )
