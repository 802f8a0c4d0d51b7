"""The curve of a training run: its loss, and the distances of its previews."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np
from etils import epath

from fewstep.evaluation.metrics import TRAINED, name_and_features
from fewstep.train.logs.jsonl import read
from fewstep.train.run.run import read_description
from fewstep.train.utils.files import write_atomic

WINDOWS = 50  # of the running mean, in the whole run


def write_curve(run: epath.Path) -> epath.Path | None:
    """Draw the metrics of a run to its curve.png; None if there is no loss, or without matplotlib."""
    lines = read(run / "metrics.jsonl")
    if find_spec("matplotlib") is None or sum(line.get("loss") is not None for line in lines) < 2:
        return None
    known = read_description(run) if (run / "run.json").exists() else {"trained_features": []}
    trained = [name for name, _ in known["trained_features"]]
    write_atomic(run / "curve.png", training_curve(lines, trained))
    return run / "curve.png"


def training_curve(lines: Sequence[Mapping[str, float]], trained: Sequence[str] = ()) -> bytes:
    """The lines of a metrics file as a PNG: a panel of the loss with its running mean, and one of each distance.

    trained: the features that the run was trained on, on which distances are marked.
    """
    from matplotlib.figure import Figure

    names = ["loss", *dict.fromkeys(name for line in lines for name in line if name.startswith("FD"))]
    figure = Figure(figsize=(7.2, 2.8 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), squeeze=False, sharex=True)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        pairs = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        step, value = np.array(pairs, float).reshape(-1, 2).T
        if name == "loss":
            width = max(1, len(value) // WINDOWS)
            axis.plot(step, value, color="0.8", linewidth=0.8)
            mean = np.convolve(value, np.ones(width) / width, "valid")
            axis.plot(step[width - 1 :], mean, color="#0072B2", label=f"mean of {width} logged steps")
            axis.legend(frameon=False)
            if len(value) and value.min() > 0:
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_formatter("{x:g}")
        else:
            axis.plot(step, value, "o-", color="#D55E00", markersize=4)
        axis.set(ylabel=f"{name} {TRAINED}, trained on" if name_and_features(name)[1] in trained else name)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlabel="step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
