"""Every kind of file of finished runs, damaged in one place that a seed chooses, and the commands that read it.

`run` was trained by the command line, and `given` from Python, on arrays that it keeps.
"""

import random
from pathlib import Path
from typing import NamedTuple

from command_lines import COMPARED, DRAWN

SAMPLE = ["sample", "run", *DRAWN, "--out", "a.png"]
CALIBRATED = [*SAMPLE, "--sampler", "analytic_ddim"]
SKIPS = [*SAMPLE, "--lever", "skip_tuning"]
COMPARE = ["compare", "run", *COMPARED]
CLASSIFIED = [*COMPARE, "--features", "classifier"]
GIVEN = ["compare", "given", *COMPARED]
PAIRS = ["pairs", "run", "--count", "4", "--nfe", "3"]
MAKING = (
    PAIRS, ["classifier", "run", "--steps", "1"], ["calibrate", "run", "--count", "4", "--points", "3"],
    ["tune-skips", "run", *DRAWN, "--values", "0.9,1"], CLASSIFIED, COMPARE, SAMPLE, CALIBRATED, SKIPS, GIVEN,
)  # fmt: skip
"""The commands that make every kind of file, and the results that damage may not change."""

READERS = {
    "run/config.gin": (SAMPLE, ["runs", "run"]),
    "run/run.json": (SAMPLE, COMPARE),
    "run/metrics.jsonl": (["runs", "run"], SAMPLE),
    "run/classifier.npz": (CLASSIFIED,),
    "run/stats/variance.npz": (CALIBRATED,),
    "run/stats/classifier-*.npz": (CLASSIFIED,),
    "run/stats/skips.json": (SKIPS,),
    "run/compare/cells/*.npz": (COMPARE, CLASSIFIED),
    "run/compare/table.json": (["runs", "run"], COMPARE),
    "run/pairs/*": (PAIRS,),
    "run/checkpoints/*/digests.json": (SAMPLE,),
    "run/checkpoints/*/_CHECKPOINT_METADATA": (SAMPLE,),
    "run/checkpoints/*/commit_success.txt": (SAMPLE,),
    "run/checkpoints/2/ema/**/*": (SAMPLE, CALIBRATED),
    "run/checkpoints/2/params/**/*": (SAMPLE,),
    "given/data.npz": (GIVEN,),
}


class Corruption(NamedTuple):
    """What was done to a file, and the words of a command that reads it."""

    file: str
    how: str
    words: list[str]


def flip(rng, data):
    """Another value of one bit."""
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(rng, data):
    """The end is missing."""
    return data[: rng.randrange(len(data) + 1)]


def delete(rng, data):
    """A range is missing."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randrange(1, 100) :]


def insert(rng, data):
    """Some bytes more."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((rng.randbytes(5), b"\n", b"\0" * 100, b"0", b"[" * 2000)) + data[at:]


def swap(rng, data):
    """Two lines have each other's place."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def digit(rng, data):
    """Another digit."""
    places = [i for i, byte in enumerate(data) if 48 <= byte < 58]
    if places:
        data[rng.choice(places)] = 48 + rng.randrange(10)
    return data


def empty(rng, data):
    """Nothing is left."""
    return b""


CHANGES = (flip, cut, delete, insert, swap, digit, empty)


def corrupt(seed: int, place: Path) -> Corruption:
    """Damage one file of the runs in a folder."""
    rng = random.Random(seed)
    pattern = [name for name in READERS if list(place.glob(name))]
    name = pattern[seed % len(pattern)]
    path = rng.choice(sorted(path for path in place.glob(name) if path.is_file() and path.name != ".lock"))
    change = rng.choice((*CHANGES, None))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(rng, bytearray(path.read_bytes())))
    how = "remove" if change is None else change.__name__
    return Corruption(str(path.relative_to(place)), how, rng.choice(READERS[name]))
