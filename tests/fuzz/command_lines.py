"""Command lines made from a seed: a short one that is valid, of any verb, with a few things wrong with it.

Options are those that the command line has now.  Paths are relative to the folder that `scenery` makes, where lines are
meant to run.
"""

import os
import random

import numpy as np
import typer
from hostile_words import ANY, CALLS, NESTED, NUMBERS, PATHS, REFERENCES, SMALL, TEXTS
from image_files import write

from fewstep.cli.config import registry
from fewstep.cli.main import app
from fewstep.samplers import GRIDS, SAMPLERS

TINY = (
    "UNet.base=8", "UNet.blocks=1", "UNet.mult=(1,)", "UNet.attention=()", "train.steps=2", "train.save_every=1",
    "train.log_every=1", "train.preview_every=2", "train.batch_size=4",
)  # fmt: skip
SETTINGS = [word for override in TINY for word in ("--set", override)]
DRAWN = ["--count", "2", "--nfe", "2"]
COMPARED = ["--count", "4", "--nfe", "2", "--sampler", "ddim", "--metric", "FD", "--batch", "4"]

VALID = {
    "train": ["train", "configs/digits/flow.gin", "--run", "new", *SETTINGS],
    "resume": ["train", "configs/digits/flow.gin", "--run", "run", *SETTINGS],
    "sample": ["sample", "run", *DRAWN],
    "from": ["sample", "run", *DRAWN, "--from", "images/cat/000.png"],
    "compare": ["compare", "run", *COMPARED],
    "exact": ["compare", "--exact", "--nfe", "2,4", "--sampler", "ddim,heun", "--out", "exact"],
    "images": ["compare", "--images", "images.npz", "images", "--metric", "FD"],
    "calibrate": ["calibrate", "run", "--count", "4", "--points", "3"],
    "pairs": ["pairs", "run", "--count", "4", "--nfe", "3"],
    "tune-skips": ["tune-skips", "run", *DRAWN, "--values", "0.9,1"],
    "classifier": ["classifier", "run", "--steps", "1"],
    "stats": ["stats", "run", "--count", "8"],
    "runs": ["runs", "."],
    "seal": ["seal", "run"],
    "config": ["config", "configs/digits/flow.gin"],
    "samplers": ["samplers"],
    "table": ["samplers", "--table", "heun", "--nfe", "4"],
    "check": ["samplers", "--check", "ddim", "--nfe", "4"],
    "levers": ["levers"],
    "data pack": ["data", "pack", "images", "packed", "--size", "8"],
}
OFTEN = (
    "sample",
    "compare",
    "config",
    "from",
    "exact",
    "images",
    "table",
    "data pack",
)  # much to say, little to wait for

SAMPLER_NAMES = (*SAMPLERS, "ddim,heun", "dpmp_2m", "ddim,", "ddim,ddim", "DDIM")
GIVEN = {
    "--nfe": ("1", "3", "4", "1,2,4", "4,1", "2,2"), "--count": ("1", "2", "3"),
    "--seed": ("0", "7", str(2**32 - 1), str(2**31)),
    "--sampler": SAMPLER_NAMES, "--table": SAMPLER_NAMES, "--check": ("ddim", "heun", "ddpm", "edm", "flow_map"),
    "--grid": (*GRIDS, "karas", "uniform,karras"), "--lever": CALLS,
    "--label": ("0", "1,2", "10", "-1", "cat", "0,cat", "9" * 12),
    "--metric": ("FD", "FD,FD", "KID", "SW,precision", "bpd", "trajectory", "novelty,accuracy", "FDD", "energy"),
    "--features": ("pixels", "classifier", "images.npz", "file.pth", "run"), "--batch": ("1", "3"),
    "--repeats": ("1", "2"),
    "--sweep": ("cfg.scale=1,2", "ddim.eta=0,1", "karras.rho=3", "ddim.eta=", "ddim.etta=1", "cfg.scale=nan"),
    "--gaussian": ("0.2,0.5", "0,1", "0,0", "0,-1", "0", "1e300,1", "nan,1", "0,1,2,3"),
    "--mesh": ("1,1,1", "2,1,1", "0,1,1", "1"),
    "--out": ("a.png", "folder/", "new/a.png", "file", "run", "folder"), "--scale": ("1", "2", "64"),
    "--strength": ("0.5", "1", "1e-9"),
    "--from": ("images/cat/000.png", "images.npz", "drawn.npz"), "--step": ("1", "3", "6"),
    "--window": ("0.3,2", "2,0.3", "1,1"),
    "--values": ("0.9", "0,1", "-1,1", "1e300"), "--process": (*registry.PROCESSES, "Linaer", "0"),
    "--estimate": ("residual", "score_norm"),
    "--points": ("2", "3"), "--steps": ("1",), "--init-from": ("run", "missing"), "--size": ("1", "8", "16"),
    "--channels": ("1", "3", "2"),
    "--shard-size": ("1", "2"), "--coordinator": ("a:1",), "--processes": ("2",),
}  # fmt: skip
DANGEROUS = ("huggingface",)  # would ask the network


def options(verb: list[str]) -> list:
    """The parameters of a command as typer reads them, but --distributed, which changes this process for ever."""
    command = typer.main.get_command(app)
    for name in verb:
        command = command.commands[name]
    return [p for p in command.params if p.param_type_name == "option" and "--distributed" not in p.opts]


def override(rng: random.Random) -> str:
    """A text for --set: a parameter of any part, with any value."""
    part = rng.choice([name for name in registry.CONFIGURABLES if name not in DANGEROUS])
    parameter = rng.choice([*registry.parameters(part), "nothing"])
    pool = rng.choice((SMALL, SMALL, NUMBERS, TEXTS, NESTED, REFERENCES, PATHS))
    form = rng.choice(
        ("{}.{}={}",) * 9 + ("{}.{} = {}", "{}{}{}", "a/{}.{}={}", ".{}.{}={}", "{}.{}.x={}", "{}.{}=={}")
    )
    return form.format(part, parameter, rng.choice(pool))


def value(rng: random.Random, option: str) -> str:
    """A value for an option: half of them of the right kind."""
    if option == "--set":
        return override(rng)
    if rng.random() < 0.5 and option in GIVEN:
        return rng.choice(GIVEN[option])
    return rng.choice(ANY)


def command_line(seed: int) -> list[str]:
    """The words after `fewstep`."""
    rng = random.Random(seed)
    words = list(VALID[rng.choice((*VALID, *OFTEN, *OFTEN))])
    verb = words[: 2 if words[0] == "data" else 1]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        rng.choice((added, added, added, added, added, replaced, dropped, doubled, misspelt))(rng, verb, words)
    return words


def added(rng, verb, words):
    """One more option, in any of its forms."""
    if not (known := options(verb)):
        words.append(rng.choice(ANY))
        return
    option = rng.choice(known)
    name = rng.choice(option.opts)
    if option.is_flag:
        words.append(name)
    elif rng.random() < 0.3:
        words.append(f"{name}={value(rng, name)}")
    else:
        words += [name, value(rng, name)]


def replaced(rng, verb, words):
    """Another word in the place of a path or a value, but those of --set, which keep a run small."""
    places = [i for i in range(len(verb), len(words)) if not words[i].startswith("-") and words[i - 1] != "--set"]
    if places:
        i = rng.choice(places)
        before = words[i - 1]
        words[i] = value(rng, before) if before.startswith("--") else rng.choice(PATHS)


def dropped(rng, verb, words):
    """One word less, so that a value or an argument is missing."""
    bounds = {
        "--count",
        "--nfe",
        "--points",
        "--steps",
        "--values",
        "--batch",
        "--set",
    }  # what keeps a line short stays
    places = [i for i in range(len(verb), len(words)) if words[i] not in bounds and words[i - 1] not in bounds]
    if places:
        del words[rng.choice(places)]


def doubled(rng, verb, words):
    """A word twice."""
    if len(words) > len(verb):
        i = rng.randrange(len(verb), len(words))
        words.insert(i, words[i])


def misspelt(rng, verb, words):
    """Two letters of a word in the wrong order."""
    i = rng.randrange(len(words))
    if "set" not in words[i - 1] and len(words[i]) > 2 and not words[i].startswith(("--count", "--nfe")):
        at = rng.randrange(len(words[i]) - 1)
        word = list(words[i])
        word[at], word[at + 1] = word[at + 1], word[at]
        words[i] = "".join(word)


def scenery(folder) -> None:
    """What the paths of the lines stand for, besides `run`."""
    (folder / "file").write_text("mine")
    (folder / "file.pth").write_bytes(b"PK\x03\x04 not really")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    write(folder / "images", pixels)
    np.savez(folder / "images.npz", images=pixels[::-1])
    np.save(folder / "images.npy", pixels)
    np.savez(folder / "drawn.npz", images=pixels[:3, :, :, :1] / np.float32(127.5) - 1)
