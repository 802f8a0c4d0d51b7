"""Plots of a comparison: lines with confidence intervals, and dashed reference values."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from fewstep.evaluation.estimate import Interval
from fewstep.evaluation.metrics import metric_info

# Okabe and Ito's colors for color-blind readers; one marker more than colors, so that their pairs do not repeat early.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*"
APART, SEVERAL = 1.04, 8  # the ratio between lines that are set side by side, and the most lines that are


class Points(NamedTuple):
    """One line; `best` are the indices of points to mark."""

    x: Sequence[float]
    values: list[Interval]
    best: tuple[int, ...] = ()


class Panel(NamedTuple):
    """Lines by label, and reference values likewise; `about` is the label of the x axis, which is logarithmic if
    `ticks` are given."""

    title: str
    about: str
    lines: dict[str, Points]
    floor: Mapping[str, Interval]
    ticks: list[int] | None = None


def plot(panels: Sequence[Panel], metric: str, kind: str) -> bytes:
    """Panels stacked vertically, with the same color for a label in all of them; `kind` is "png" or "svg"."""
    labels = dict.fromkeys(label for panel in panels for label in panel.lines)
    styles = dict(zip(labels, zip(cycle(COLOURS), cycle(MARKERS), strict=False), strict=False))
    heights = [max(4.2, 0.22 * len(panel.lines) + 0.8) for panel in panels]  # inches: room for the legend
    width = 7.2 + 0.08 * max(0, max(map(len, labels), default=0) - 24)  # inches: names are shown whole
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        shown = _lines(axis, panel, styles) + _floor(axis, panel.floor)
        _dress(axis, panel, metric, least=min(shown, default=0))
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fewstep", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _lines(axis, panel, styles):
    """Draw the lines; returns their finite values."""
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgecolor": "0.2", "linestyle": "none"}
    rings = []
    for k, (label, (x, values, best)) in enumerate(panel.lines.items()):
        colour, marker = styles[label]
        if panel.ticks and len(panel.lines) <= SEVERAL:  # side by side, so that none hides another
            x = [at * APART ** (k - (len(panel.lines) - 1) / 2) for at in x]
        axis.plot(x, [v.value for v in values], color=colour, marker=marker, markersize=5, label=label)
        lows = [v.low if v.low > 0 or v.value <= 0 else 1e-3 * v.value for v in values]  # for a logarithmic axis
        axis.vlines(x, lows, [v.high for v in values], color=colour, alpha=0.5, linewidth=1.2)
        rings += [(x[i], values[i].value) for i in best]
    if rings:
        axis.plot(*zip(*rings, strict=True), **ring, label="best of its line")
    return [v.value for points in panel.lines.values() for v in points.values if np.isfinite(v.value)]


def _floor(axis, floor):
    """Draw the reference values {name: interval}; returns them."""
    for name, (value, *_) in floor.items():
        axis.axhline(value, color="0.4", linestyle="--", linewidth=1)
        right = axis.get_yaxis_transform()
        axis.text(1, value, f"{name} ", transform=right, color="0.4", ha="right", va="bottom", fontsize=9)
    return [value.value for value in floor.values()]


def _dress(axis, panel, metric, least):
    """Labels, scales and ticks; `least` is the smallest value shown."""
    axis.set(xlabel=panel.about, ylabel=metric, title=textwrap.fill(panel.title, 60))
    if panel.ticks:
        axis.set_xscale("log")
        axis.set_xticks(panel.ticks, labels=map(str, panel.ticks))
    if metric_info(metric).better == "lower" and least > 0:
        axis.set_yscale("log")
        axis.set_ylim(bottom=max(axis.get_ylim()[0], least / 3))  # bands that reach 0 are cut off
        low, high = axis.get_ylim()
        subs = (1, 2, 5) if high > 20 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
        axis.yaxis.set_major_locator(LogLocator(subs=subs))
        axis.yaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
