"""What a user waits for before the first image: imports and `fewstep sample`, beside the bare imports of JAX.

    make demo
    .venv/bin/python benchmarks/start.py runs/digits > start.md && mv start.md benchmarks/results/start.md

Every command is a new process; all take turns.  A ratio is that of one turn.  Warm: what JAX compiled is in its cache.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from machine import machine, seconds, spread

TURNS = 5
BARE, ORBAX = "import jax, flax.nnx", "import jax, flax.nnx, orbax.checkpoint"
LISTED = 0.05  # seconds


def commands(run, cache):
    """{name: (arguments, environment)}."""
    image = str(cache / "images.png")
    sample = ["-m", "fewstep", "sample", run, "--sampler", "dpmpp_2m", "--nfe", "16", "--count", "64", "--out", image]
    warm = os.environ | {"XDG_CACHE_HOME": str(cache)}
    warm.pop("JAX_COMPILATION_CACHE_DIR", None)
    cold = warm | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    return {
        f"`{BARE}`": (["-c", BARE], warm),
        f"`{ORBAX}`": (["-c", ORBAX], warm),
        "`import fewstep`": (["-c", "import fewstep"], warm),
        "`from fewstep import open_run`": (["-c", "from fewstep import open_run"], warm),
        "`fewstep --help`": (["-m", "fewstep", "--help"], warm),
        "`fewstep sample`, 64 digits in 16 calls, warm": (sample, warm),
        "the same, cold": (sample, cold),
    }


def run(arguments, environment):
    """A process."""
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)


def imports(environment):
    """({package: seconds that modules of fewstep spend on importing it}, seconds of all) of `fewstep sample`."""
    command = [sys.executable, "-X", "importtime", "-c", "import fewstep.cli.verbs.sample"]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
    found, above = Counter(), []
    for took, indent, name in reversed(re.findall(r"^import time: +\d+ \| +(\d+) \|( +)(\S+)$", said, re.M)):
        depth = len(indent) // 2  # a module comes after what it imports, so before it in this order
        above, package = [*above[:depth], name.partition(".")[0]], name.partition(".")[0]
        if package != "fewstep" and set(above[:-1]) == {"fewstep"}:
            found[package] += int(took) / 1e6
    return found, found.total()


def main(folder_of_run):
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        known = commands(folder_of_run, Path(folder))
        run(*known["`fewstep sample`, 64 digits in 16 calls, warm"])  # fills the cache
        spent = {name: [] for name in known}
        for _ in range(TURNS):
            for name, command in known.items():
                spent[name].append(seconds(partial(run, *command)))
        listed, whole = imports(known[f"`{BARE}`"][1])
    print(f"""# Start

    .venv/bin/python benchmarks/start.py runs/digits > start.md && mv start.md benchmarks/results/start.md

{where}.

Median (lowest to highest) of {TURNS} turns; ratios are those of one turn.

| process | seconds | times `{BARE}` | times `{ORBAX}` |
| --- | --- | --- | --- |""")
    bare, orbax = (np.array(spent[f"`{name}`"]) for name in (BARE, ORBAX))
    for name, took in spent.items():
        print(f"| {name} | {spread(took)} | {spread(took / bare)} | {spread(took / orbax)} |")
    print(f"\nOf the {whole:.2f} s in which `fewstep sample` imports other packages, each with what it needs first:\n")
    for name, took in listed.most_common():
        if took >= LISTED:
            print(f"- {name}: {took:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
