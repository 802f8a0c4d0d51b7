"""Quality against network calls, as a plot."""

import io
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from evaluation.metrics import trait

# Okabe and Ito's colours, told apart by colour-blind readers; one marker more, so that no pair of the two comes twice.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*"


def curve(comparison, kind, metric=None) -> bytes:
    """One line a sampler with its interval as a band, the floor dashed; `kind` is "png" or "svg"."""
    metric = metric or comparison.metrics[0]
    figure = Figure(figsize=(7.2, 4.2 * len(comparison.runs)), layout="constrained")
    axes = figure.subplots(len(comparison.runs), squeeze=False)[:, 0]
    for axis, run in zip(axes, comparison.runs, strict=True):
        _draw(axis, comparison, run, metric)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fewstep", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _draw(axis, comparison, run, metric):
    shown = []
    for line, colour, marker in zip(comparison.lines, cycle(COLOURS), cycle(MARKERS), strict=False):
        if line not in comparison.drawn(run):
            continue
        cells = [c for b in comparison.budgets if (c := comparison.cell(run, line, b)) and metric in c.metrics]
        calls, values = [c.nfe for c in cells], [c.metrics[metric] for c in cells]
        axis.plot(calls, [v.value for v in values], color=colour, marker=marker, markersize=5, label=line)
        shown += [v.value for v in values if np.isfinite(v.value)]
        lows = [v.low if v.low > 0 or v.value <= 0 else 1e-3 * v.value for v in values]  # a logarithmic axis has no 0
        axis.fill_between(calls, lows, [v.high for v in values], color=colour, alpha=0.15, linewidth=0)
    if metric in comparison.floors.get(run, {}):
        floor = comparison.floors[run][metric].value
        shown.append(floor)
        axis.axhline(floor, color="0.4", linestyle="--", linewidth=1)
        axis.text(
            max(comparison.budgets), floor, f"{trait(metric).beside} ", color="0.4", ha="right", va="bottom", fontsize=9
        )
    axis.set(xscale="log", xlabel="network calls per image", ylabel=metric, title=run)
    axis.set_xticks(comparison.budgets, labels=map(str, comparison.budgets))
    if trait(metric).better == "lower" and min(shown, default=0) > 0:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
