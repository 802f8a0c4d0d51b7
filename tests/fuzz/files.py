"""Hostile files made from a seed, and the commands that read them.

`HOSTILE` has what may stand at a path: each is a function of (rng, path) that puts it there.  `READERS` has, by name,
the path of a file in the folder of `conftest.place` and the words of a command that reads it.
"""

import io
import os
import random
import shutil
import socket
import struct
import zipfile
from pathlib import Path

import numpy as np
from command_lines import DRAWN, SETTINGS
from image_files import enlarged, picture
from PIL import Image

CONFIGS = {
    "zero": "include '/dev/zero'\n",
    "password": "include '/etc/passwd'\n",
    "parents": "include '../../../../etc/hostname'\n",
    "import": "import os\n",
    "import of": "from os import system\n",
    "itself": "include 'hostile.gin'\n",
    "macro": "train.steps = %NOTHING\n",
    "macros in a circle": "A = %B\nB = %A\ntrain.steps = %A\n",
    "macro of itself": "A = %A\ntrain.steps = %A\n",
    "long line": "train.steps = " + "1" * 500_000 + "\n",
    "long name": "x" * 200_000 + ".steps = 1\n",
    "many lines": "train.steps = 1\n" * 20_000,
    "brackets": "train.steps = " + "(" * 5000 + "\n",
    "minus signs": "train.steps = " + "-" * 5000 + "1\n",
    "indent": "train:\n    steps = 1\n  seed = 2\n\t\tseed = 3\n",
    "unclosed": "train.steps = '''\n",
    "evaluated": "train.objective = @train()\ntrain.data = @train()\n",
    "scopes": "/".join(["a"] * 3000) + "/train.steps = 1\n",
    "continued": "train.steps = 1 \\\n" * 1000,
    "zeros": "train.steps = 1\0\n",
    "comment": "# " + "é" * 400_000,
    "bindings": "\n".join(f"train.x{i} = {i}" for i in range(3000)),
    "dictionary": "train.steps = {'a': " * 300 + "\n",
    "seal": "train.steps = 1\n# sha256: 0\n",
    "returns": "train.steps = 1\r" * 100,
}
DOCUMENTS = {
    "deep list": "[" * 100_000,
    "deep dictionary": '{"a": ' * 100_000,
    "infinity": '{"classes": Infinity, "step": Infinity, "factors": [Infinity]}',
    "infinite": '{"step": 1e999, "loss": 1e999}',
    "nan": '{"step": NaN, "loss": NaN}',
    "long number": '{"step": ' + "9" * 6000 + "}",
    "large number": '{"step": 1' + "0" * 400 + ', "loss": 1, "count": 1' + "0" * 400 + "}",
    "negative": '{"step": -1, "shape": [-1, -1, -1], "classes": -1, "shards": {"a": -1}, "version": 1}',
    "wrong kinds": '{"step": "x", "shape": {"a": 1}, "classes": [], "shards": 3, "version": 1, "cells": {}, "runs": 1}',
    "null": "null",
    "number": "3",
    "text": '"x"',
    "list": "[[], {}, null]",
    "empty": "{}",
    "parents": '{"shards": {"../../file": 1}, "shape": [8, 8, 3], "classes": [], "version": 1, "../../file": "0"}',
    "twice": '{"step": 1, "step": 2}',
    "surrogate": '{"\\ud800": "\\ud800", "step": 1}',
    "sealed": '{"step": 1, "sha256": ' + "[" * 50 + "]" * 50 + "}",
}
HEADERS = {
    "eleven terabytes": ("|u1", "(12094627905536, 1, 1)"),
    "negative": ("|u1", "(-8, 8)"),
    "twice negative": ("|u1", "(-8, -8)"),
    "overflow": ("<f8", f"({2**62}, {2**62})"),
    "more digits": ("|u1", f"({'9' * 5000},)"),
    "objects": ("|O", "(8,)"),
    "kind": ("spam", "(8, 8)"),
    "no numbers": ("|u1", "('a', None)"),
    "fractions": ("|u1", "(1.5, 2)"),
    "structure": ("[('a', '<f4'), ('b', '|O')]", "(1,)"),
    "empty": ("<f4", "(0, 8, 8, 3)"),
    "texts": ("<U16", "(1,)"),
    "times": ("<M8[s]", "(8,)"),
    "wide": ("|V1000000000", "(1000,)"),
}


def fifo(_, path):
    os.mkfifo(path)


def bound(_, path):
    before = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(before)


def device(rng, path):
    path.symlink_to(rng.choice(("/dev/zero", "/dev/random", "/dev/tty", "/dev/full", "/proc/self/mem", "/proc/kmsg")))


def loop(_, path):
    path.symlink_to(path.name)


def dangling(_, path):
    path.symlink_to("nothing/there")


def folder(_, path):
    path.mkdir()


def empty(_, path):
    path.touch()


def noise(rng, path):
    path.write_bytes(rng.choice((b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n")) + rng.randbytes(3000))


def huge(_, path):
    """3 GB of zeros that take no room."""
    path.touch()
    os.truncate(path, 3 << 30)


def unreadable_text(_, path):
    path.write_bytes(b"train.steps = \xff\xfe\n")


def config(rng, path):
    text = CONFIGS[rng.choice(list(CONFIGS))].replace("hostile.gin", path.name)
    path.write_text(text)


def document(rng, path):
    path.write_text(DOCUMENTS[rng.choice(list(DOCUMENTS))] + "\n")


def header(kind, shape):
    """The start of a .npy file."""
    kind = kind if kind.startswith("[") else repr(kind)
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def lying_header(rng, path):
    data = header(*HEADERS[rng.choice(list(HEADERS))]) + b"\0" * 64
    if path.suffix == ".npy":
        path.write_bytes(data)
    else:
        zipped(path, data)


def zipped(path, data, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name in ("images", "labels", "key", "kernel", "x0", "table"):
            file.writestr(f"{name}.npy", data)


def pickled(_, path):
    np.savez(path.with_name("pickled.npz"), images=np.array([os.getcwd], object), labels=np.array([{}], object))
    shutil.move(path.with_name("pickled.npz"), path)


def bomb(_, path):
    """20 MB in each array, of 20 kB."""
    zipped(path, header("|u1", "(20000000,)") + bytes(20_000_000), zipfile.ZIP_DEFLATED)


def nested_names(_, path):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("../../out.npy", "/etc/out.npy", "images", "images.npy", "\\", "a" * 60_000):
            file.writestr(name, header("|u1", "(1,)") + b"\0")


def values(rng, path):
    """Whole arrays of wrong values under the names that are looked for."""
    wrong = [np.full((4, 8, 8, 1), number, kind) for number, kind in ((np.nan, "f4"), (0, "f4"), (1e300, "f8"))]
    wrong += [np.full((4, 8, 8, 3), np.inf), np.zeros(3), np.array("x"), np.zeros((0, 8, 8, 1)), np.zeros((2,) * 20)]
    names = ("images", "labels", "held_out_images", "classes", "x0", "key")
    with path.open("wb") as file:
        np.savez(file, **{name: rng.choice(wrong) for name in names})


def cut_picture(rng, path):
    data = picture(rng.choice(("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")))
    path.write_bytes(data[: rng.randrange(8, len(data))])


def flipped_picture(rng, path):
    data = picture(rng.choice(("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")))
    for _ in range(rng.randrange(1, 30)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def large_picture(rng, path):
    """A header of 60,000 x 60,000 pixels, or of none, before the data of 16 x 16."""
    side, kind = rng.choice((0, 13_000, 60_000)), rng.choice(("PNG", "JPEG", "GIF"))
    path.write_bytes(enlarged(kind, side))


def broken_exif(rng, path):
    file = io.BytesIO()
    exif = b"Exif\0\0" + rng.choice((b"II*\0", b"MM\0*", b"")) + rng.randbytes(rng.randrange(40))
    Image.new("RGB", (16, 16)).save(file, "JPEG", exif=exif)
    path.write_bytes(file.getvalue())


HOSTILE = {
    f.__name__: f
    for f in (
        fifo, bound, device, loop, dangling, folder, empty, noise, huge, unreadable_text, config, document,
        lying_header, pickled, bomb, nested_names, values, cut_picture, flipped_picture, large_picture, broken_exif,
    )
}  # fmt: skip
TEXTS, ARRAYS = ("config", "document", "unreadable_text"), ("lying_header", "pickled", "bomb", "nested_names", "values")
PICTURES = ("cut_picture", "flipped_picture", "large_picture", "broken_exif")


def train(*words, config="configs/digits/flow.gin"):
    """The words for a new run."""
    return ["train", config, "--run", "new", *SETTINGS, *words]


def on(source, path):
    """The words for training on the data of a source."""
    return train("--set", f"train.data=@{source}", "--set", f"{source}.path={path}")


READERS = {
    "config": ("a.gin", ["config", "a.gin"]),
    "trained config": ("a.gin", train(config="a.gin")),
    "included": ("b.gin", ["config", "main.gin"]),
    "image": ("a.png", ["sample", "run", *DRAWN, "--from", "a.png"]),
    "saved images": ("a.npz", ["sample", "run", *DRAWN, "--from", "a.npz"]),
    "npz": ("a.npz", on("npz", "a.npz")),
    "npy": ("a.npy", on("npy", "a.npy")),
    "npy labels": ("a.npy", [*on("npy", "images.npy"), "--set", "npy.labels=a.npy"]),
    "folder": ("images/cat/zzz.png", on("folder", "images")),
    "packed": ("images/cat/zzz.png", ["data", "pack", "images", "packed", "--size", "8"]),
    "packed strictly": ("images/cat/zzz.png", ["data", "pack", "images", "packed", "--size", "8", "--strict"]),
    "array record": ("shards/dataset.json", on("array_record", "shards")),
    "pairs": ("stored/pairs.json", train("--set", "pairs.path=stored", config="configs/digits/reflow.gin")),
    "drawn images": ("a.npz", ["compare", "--images", "a.npz", "images", "--metric", "FD"]),
    "drawn folder": ("images/cat/zzz.png", ["compare", "--images", "images.npz", "images", "--metric", "FD"]),
    "weights": ("a.npz", ["stats", "run", "--count", "8", "--features", "a.npz"]),
    "torch weights": ("a.pth", ["stats", "run", "--count", "8", "--features", "a.pth"]),
    "run's config": ("run/config.gin", ["sample", "run", *DRAWN]),
    "description": ("run/run.json", ["sample", "run", *DRAWN]),
    "log": ("run/metrics.jsonl", ["runs", "run"]),
    "table": ("run/compare/table.json", ["runs", "run"]),
    "log of a resumed run": ("run/metrics.jsonl", train("--run", "run", "--set", "train.steps=2")),
    "classifier": ("run/classifier.npz", ["stats", "run", "--count", "8", "--features", "classifier"]),
    "variance": ("run/stats/variance.npz", ["sample", "run", *DRAWN, "--sampler", "analytic_ddpm"]),
    "skips": ("run/stats/skips.json", ["sample", "run", *DRAWN, "--lever", "skip_tuning"]),
    "digests": ("run/checkpoints/2/digests.json", ["sample", "run", *DRAWN]),
    "checkpoint": ("run/checkpoints/2/ema/_METADATA", ["sample", "run", *DRAWN]),
    "sealed": ("run/classifier.npz", ["seal", "run"]),
}  # fmt: skip


def hostile(seed: int, place: Path) -> list[str]:
    """Put one hostile file into the place, and return the words of the command that reads it."""
    rng = random.Random(seed)
    name, words = READERS[list(READERS)[seed % len(READERS)]]
    path, suffix = place / name, Path(name).suffix
    fitting = TEXTS if suffix in (".gin", ".json", ".jsonl") else PICTURES if suffix == ".png" else ARRAYS
    made = HOSTILE[rng.choice((*fitting, *fitting, *HOSTILE))]
    (place / "main.gin").write_text("include 'b.gin'\ninclude 'digits/flow.gin'\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made(rng, path)
    return words
