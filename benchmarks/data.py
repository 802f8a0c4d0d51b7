"""Images per second that the input pipeline delivers to the device, for each source.

    .venv/bin/python benchmarks/data.py > data.txt && mv data.txt benchmarks/results/data.txt

Writes smooth random images of 32x32 in colour as PNG files, packs them, and takes shuffled and mirrored batches, as
training does, onto the device: an array in memory, a mapped .npy file, packed shards, and the folder itself, whose
files are decoded whenever they are used.  Turns are interleaved; nothing else is computed.
"""

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from machine import machine, spread
from PIL import Image

from fewstep.train.data import array_record, arrays, folder, npy
from fewstep.train.data.batches import Batches
from fewstep.train.data.packing import pack
from fewstep.train.sharding import global_batch, make_mesh

TURNS, SIZE, CLASSES = 5, 32, 10


def images(count):
    """(count, 32, 32, 3) uint8: random 8x8 images, enlarged."""
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for one in small])


def sources(made, place):
    """{name: data set} of the images, of which those on disk are below `place`."""
    np.save(place / "images.npy", made)
    labels = np.arange(len(made)) % CLASSES
    np.save(place / "labels.npy", labels)
    for i, image in enumerate(made):
        path = place / "folder" / str(labels[i]) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)
    pack(place / "folder", place / "packed")
    return {
        "an array in memory": arrays(made, labels),
        "a mapped .npy file": npy(str(place / "images.npy"), str(place / "labels.npy")),
        "packed shards": array_record(str(place / "packed")),
        "a folder of PNG files": folder(str(place / "folder"), size=SIZE),
    }


def speed(data, size, steps):
    """Images per second of shuffled and mirrored batches on the device."""
    batches, mesh = Batches(data.train, size, flip=True), make_mesh((-1, 1, 1))
    with closing(batches.stream(0, steps)) as stream:
        placed = global_batch(mesh, next(stream), size)  # starts the threads
        begin = time.perf_counter()
        for batch in stream:
            placed = global_batch(mesh, batch, size)
        placed.image.block_until_ready()
        return size * (steps - 1) / (time.perf_counter() - begin)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=256)
    asked = parser.parse_args()
    print(f"{machine()}.\n")
    with tempfile.TemporaryDirectory() as place:
        made = sources(images(asked.count), Path(place))
        steps = int(0.9 * asked.count) // asked.batch
        found = {name: [] for name in made}
        for _ in range(TURNS):
            for name, data in made.items():
                found[name].append(speed(data, asked.batch, steps))
    print("| source | images per second |\n| --- | --- |")
    for name, rates in found.items():
        print(f"| {name} | {spread(rates, 0)} |")


if __name__ == "__main__":
    main()
