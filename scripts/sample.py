"""fewstep sample."""

import io
import shlex
import sys
from pathlib import Path

import numpy as np

from samplers import GRIDS, SAMPLERS
from scripts import config, parse
from scripts.errors import UserError, lookup
from train.files import write_atomic
from train.pictures import png, sheet


def main(folder, sampler, nfe, count, seed, label, levers, grid, out, overrides):
    """Draw `count` images and write OUT.png and OUT.npz."""
    lookup("sampler", sampler, SAMPLERS)
    if grid is not None:
        lookup("grid", grid, GRIDS)
    parse.at_least_one(nfe, "--nfe")
    parse.at_least_one(count, "--count")
    out = Path(out)
    if out.suffix != ".png":
        raise UserError(f"--out {out}: give a name that ends in .png")
    run = config.open_run(folder, overrides)
    wanted = None if label is None else parse.whole_numbers(label, "--label")
    seeds = np.arange(seed, seed + count)
    images = run.draw(
        config.sampler(sampler),
        nfe,
        seeds,
        label=wanted,
        levers=[parse.lever(text) for text in levers],
        grid=None if grid is None else config.grid(grid),
    )
    label = run.labels(wanted, count).label
    arrays = {"images": images, "seeds": seeds, "command": np.array(shlex.join(["fewstep", *sys.argv[1:]]))}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, **({} if label is None else {"labels": label}))
    write_atomic(out.with_suffix(".npz"), buffer.getvalue())
    if images.ndim == 4:
        write_atomic(out, png(sheet(images, columns=_columns(wanted, count))))
    else:
        write_atomic(out, _scatter(images))
    print(f"{count} images by {sampler} in at most {nfe} calls: {out}, {out.with_suffix('.npz')}", file=sys.stderr)


def _columns(wanted, count):
    """As many columns as classes, so that every column is one class."""
    return len(wanted) if wanted and 1 < len(wanted) <= count else None


def _scatter(points):
    """Points in the plane as a picture, 256 pixels a side."""
    place = np.clip((points[:, :2] + 1) * 127.5, 0, 255).astype(int)
    picture = np.full((256, 256, 1), 255, np.uint8)
    picture[255 - place[:, 1], place[:, 0]] = 0
    return png(picture)
