"""Guidance by classes: how often a classifier agrees, and how far the images are, against the scale.

    .venv/bin/python benchmarks/guidance.py runs/flow runs/bad --out OUT

Draws the same seeds of a run with labels under plain guidance, in an interval of noise levels, projected (APG),
rescaled, and away from a second, worse run, at several scales, and writes guidance.md (accuracy and Frechet distances
with intervals, passes) and guidance.png (both against the scale, and against each other) to OUT.  Needs the
classifier of the run (`fewstep classifier`).
"""

from fewstep.cli.cpu import tune

tune()

import argparse
from pathlib import Path

import jax
from matplotlib.figure import Figure

from fewstep.cli.config.open_run import open_run
from fewstep.diffusion.levers import apg, autoguidance, cfg, interval, rescale
from fewstep.evaluation.compare import compare
from fewstep.evaluation.drawing import Line
from fewstep.evaluation.features import Pixels, classifier
from fewstep.evaluation.report.plot import COLOURS, MARKERS
from fewstep.samplers import SAMPLERS

SCALES = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
METRICS = ("accuracy-classifier", "FD-pixels", "FD-classifier")


def ways(bad, low, high):
    """{name: levers of a scale}."""
    return {
        "cfg": lambda w: (cfg(w),),
        f"cfg, interval({low:g}, {high:g})": lambda w: (cfg(w), interval(low, high)),
        "apg": lambda w: (apg(w),),
        "apg, momentum -0.5": lambda w: (apg(w, 0.0, -0.5),),
        "cfg, rescale(0.7)": lambda w: (cfg(w), rescale(0.7)),
        "autoguidance": lambda w: (autoguidance(bad, w),),
    }


def main():
    """Draw, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run with labels")
    parser.add_argument("bad", help="of a worse one on the same data")
    parser.add_argument("--sampler", default="dpmpp_2m")
    parser.add_argument("--nfe", type=int, default=16)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--scales", type=lambda text: [float(w) for w in text.split(",")], default=SCALES)
    parser.add_argument("--low", type=float, default=0.2)
    parser.add_argument("--high", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("runs/guidance"))
    told = parser.parse_args()
    run, bad = open_run(told.run), open_run(told.bad)
    around = ways(bad.denoiser, told.low, told.high)
    lines = [
        Line(f"{name} scale={w:g}", SAMPLERS[told.sampler], levers=levers(w), swept={"scale": f"{w:g}"})
        for name, levers in around.items()
        for w in told.scales
    ]
    about = {"command": f"benchmarks/guidance.py, {told.sampler} in {told.nfe} calls", "environment": {}}
    options = {"metrics": ("accuracy", "FD"), "features": [Pixels(run.shape), classifier.load(run)]}
    options |= {"folder": told.out, "count": told.count, "batch": told.batch}
    told.out.mkdir(parents=True, exist_ok=True)
    result = compare([run], lines, [told.nfe], **options, **about)
    (told.out / "guidance.md").write_text(table(result, around, told))
    figure(result, around, told).savefig(told.out / "guidance.png", dpi=110)
    print((told.out / "guidance.md").read_text())


def cells(result, name, scales):
    """The cells of a way, by scale."""
    return [next(c for c in result.cells if c.line == f"{name} scale={w:g}") for w in scales]


def table(result, names, told) -> str:
    """Markdown; `behind` is the paired difference from the best line."""
    rows = [f"{told.sampler} in {told.nfe} calls, {told.count} images; {jax.devices()[0].device_kind}", ""]
    rows += [f"| | scale | {' | '.join(METRICS)} | {' | '.join(f'{m} behind' for m in METRICS[1:])} | passes |"]
    rows += ["|---" * 8 + "|"]
    behind = {(gap.line, gap.metric): gap.difference for gap in result.gaps}
    for name in names:
        for cell in cells(result, name, told.scales):
            shown = [_number(cell.metrics[m]) for m in METRICS]
            shown += [_number(behind[cell.line, m]) if (cell.line, m) in behind else "best" for m in METRICS[1:]]
            rows.append(f"| {' | '.join([name, cell.swept['scale'], *shown, f'{cell.passes:g}'])} |")
    floor = result.floors[result.runs[0]]
    rows.append(f"| training images | | {' | '.join(_number(floor[m]) for m in METRICS)} | | | |")
    return "\n".join(rows) + "\n"


def _number(found):
    """A value with half of its interval."""
    return f"{found.value:.4g} ± {(found.high - found.low) / 2:.2g}"


def figure(result, names, told):
    """Accuracy and distances against the scale, and distance against accuracy."""
    made = Figure(figsize=(13, 4.2), layout="constrained")
    axes = made.subplots(1, 3)
    for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
        found = cells(result, name, told.scales)
        accuracy, _, distance = ([cell.metrics[m].value for cell in found] for m in METRICS)
        style = {"color": colour, "marker": marker, "markersize": 5, "label": name}
        for axis, x, y in (
            (axes[0], told.scales, accuracy),
            (axes[1], told.scales, distance),
            (axes[2], accuracy, distance),
        ):
            axis.plot(x, y, **style)
    axes[0].set(xlabel="scale", ylabel="accuracy of the classifier")
    axes[1].set(xlabel="scale", ylabel="FD-classifier")
    axes[2].set(xlabel="accuracy of the classifier", ylabel="FD-classifier")
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_yscale("log")
    axes[2].set_yscale("log")
    axes[2].legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return made


if __name__ == "__main__":
    main()
