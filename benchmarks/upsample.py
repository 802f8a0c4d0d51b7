"""Images of twice the trained size, with upsample guidance and without.

    .venv/bin/python benchmarks/upsample.py runs/flow --out OUT

Draws the same seeds at twice the sides under `upsample_guidance(2, theta)` for several theta, 0 being without, and
tells how far their means over 2 x 2 pixels are from held-out images (Frechet distances), and how far their power at
frequencies that the trained size does not have is from that of held-out images enlarged by cubic interpolation: the
root of the mean squared difference, in decibels, of radial means.  Writes upsample.md and pictures to OUT.  Needs the
classifier of the run (`fewstep classifier`).
"""

from fewstep.cli.cpu import tune

tune()

import argparse
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from fewstep.cli.config.open_run import open_run
from fewstep.diffusion.levers import attention_scale, cfg, upsample_guidance
from fewstep.evaluation.distances import Frechet
from fewstep.evaluation.estimate import difference
from fewstep.evaluation.features import Pixels, classifier, quantized
from fewstep.evaluation.measure import averaged
from fewstep.evaluation.reference import reference
from fewstep.train.logs.images import png, sheet

M = 2


def power(images) -> np.ndarray:
    """Radial means of the power of uint8 images (N, H, H, C), one at each whole frequency up to H/2, in decibels."""
    side = images.shape[1]
    waves = np.abs(np.fft.fft2(images / 127.5 - 1.0, axes=(1, 2))) ** 2
    mean = waves.mean(axis=(0, 3))
    k = np.abs(np.fft.fftfreq(side) * side)
    radius = np.round(np.hypot(k[:, None], k[None])).astype(int)
    return 10 * np.log10([mean[radius == r].mean() for r in range(side // 2 + 1)])


def interpolated(images) -> np.ndarray:
    """uint8 images at M times the sides, by cubic interpolation."""
    sides = (M * images.shape[2], M * images.shape[1])
    return np.stack([np.asarray(Image.fromarray(i[..., 0]).resize(sides, Image.BICUBIC))[..., None] for i in images])


def main():
    """Draw, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run on grey images")
    parser.add_argument("--sampler", default="dpmpp_2m")
    parser.add_argument("--nfe", type=int, default=16)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("runs/upsample"))
    told = parser.parse_args()
    run = open_run(told.run)
    real, kinds = reference(run.data, 2).held_out, [Pixels(run.shape), classifier.load(run)]
    far = [Frechet(kind(real)) for kind in kinds]
    target, beyond = power(interpolated(real)), slice(run.shape[0] // 2 + 1, None)
    ways = {
        "without": (upsample_guidance(M, 0.0),),
        "attention_scale()": (attention_scale(), upsample_guidance(M, 0.0)),
        **{f"theta {theta:g}": (upsample_guidance(M, theta),) for theta in (0.5, 1.0, 1.2)},
        "theta 1, eta 0.6": (upsample_guidance(M, 1.0, 0.6),),
        "theta 1, attention_scale()": (attention_scale(), upsample_guidance(M)),
        "theta 1, cfg(2)": (upsample_guidance(M), cfg(2.0)),
    }
    told.out.mkdir(parents=True, exist_ok=True)
    rows = [f"{told.sampler} in {told.nfe} calls, {told.count} images; {jax.devices()[0].device_kind}", ""]
    rows += [
        "| | FD-pixels of means | FD-classifier of means | less than without | power beyond, dB apart |",
        "|---|---|---|---|---|",
    ]
    plain = None
    for name, levers in ways.items():
        images = quantized(run.draw(told.sampler, told.nfe, range(told.count), levers=levers, batch=told.batch))
        means = averaged(images, real.shape)
        found = [distance.of(kind(means)) for distance, kind in zip(far, kinds, strict=True)]
        plain = plain or found
        shown = [f"{f.value:.4g} ± {f.interval().high - f.value:.2g}" for f in found]
        gaps = [difference(a, b) for a, b in zip(found, plain, strict=True)]
        shown.append(", ".join(f"{gap.value:.3g} ± {gap.high - gap.value:.2g}" for gap in gaps))
        apart = power(images)[beyond] - target[beyond]
        rows.append(f"| {' | '.join([name, *shown, f'{np.sqrt((apart**2).mean()):.3g} (mean {apart.mean():+.2g})'])} |")
        text = name.replace(", ", "_").replace(" ", "").replace("()", "").replace("(", "").replace(")", "")
        (told.out / f"{text}.png").write_bytes(png(sheet(images[:40] / 127.5 - 1, columns=10)))
        print(rows[-1], flush=True)
    small = quantized(run.draw(told.sampler, told.nfe, range(told.count), batch=told.batch))
    found = [distance.of(kind(small)) for distance, kind in zip(far, kinds, strict=True)]
    shown = [f"{f.value:.4g} ± {f.interval().high - f.value:.2g}" for f in found]
    rows.append(f"| at the trained size | {' | '.join(shown)} | | |")
    (told.out / "upsample.md").write_text("\n".join(rows) + "\n")
    print(rows[-1])


if __name__ == "__main__":
    main()
