"""What runs are measured against: imported runs may have no data of their own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewstep.errors import UsageError
from fewstep.evaluation.metrics import ALONE
from fewstep.train.data.absent import blank
from fewstep.train.utils.messages import say


def with_data(runs: Sequence[Any], metrics: Sequence[str], chosen: bool) -> tuple[list[Any], Sequence[str]]:
    """The runs, each with data, and the metrics that can be measured.

    A run whose data nobody has named gets those of another run on images and classes like its own.  If no run has
    data, they are compared by their trajectories alone; UsageError if other metrics were `chosen`.
    """
    without = [run for run in runs if not _has_data(run)]
    if not without:
        return list(runs), metrics
    others = [run for run in runs if _has_data(run)]
    if not others and chosen and (wanted := [metric for metric in metrics if metric != ALONE]):
        raise UsageError(
            f"{without[0].folder} has no data to measure {wanted[0]} against: add --data (a folder of images, an .npz, "
            f"or digits); {ALONE} needs none"
        )

    def given(run):
        classes = run.model.classes
        like = next((one for one in others if one.shape == run.shape and classes in (0, one.data.classes)), None)
        if like is None and others:
            raise UsageError(
                f"{run.folder} has no data, and those of the other runs are not of its kind: add --data, or compare it "
                f"alone"
            )
        if like is not None:
            say(f"{run.name} has no data, and is measured against those of {like.name}")
        data = blank(run.shape, run.model.classes, run.names) if like is None else like.data
        return replace(run, load_data=lambda: data, has_data=True)

    return [run if _has_data(run) else given(run) for run in runs], metrics if others else (ALONE,)


def _has_data(run):
    return getattr(run, "has_data", True)  # a denoiser is given with data
