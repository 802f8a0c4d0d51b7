"""Where the files of a folder of Hugging Face diffusers lie: configs, weights and their variants, shards, the licence.

As diffusers does, a part of a pipeline is looked for in the folder of its name, and in the root where there is none.
"""

import re
from pathlib import Path

from fewstep.errors import UsageError, lookup
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.files import JSON, loads, read_text
from fewstep.zoo.diffusers_settings import read_config

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"
MAIN = "main"  # the weights that have no variant in their name
# A file of weights, and an index of shards, each with or without a variant; the first form is preferred to the second.
FORMS = tuple(
    re.compile(WEIGHTS + form)
    for form in (
        r"(?:\.(?P<variant>[\w-]+))?\.safetensors",
        r"(?:\.safetensors)?\.index(?:\.(?P<variant>[\w-]+))?\.json",
        r"\.(?P<variant>[\w-]+)\.safetensors\.index\.json",
        r"(?:\.(?P<variant>[\w-]+))?\.bin",
        r"\.bin\.index(?:\.(?P<variant>[\w-]+))?\.json",
    )
)
SHARD = re.compile(r".*-\d+-of-\d+")


def part(path: Path, name: str) -> Path:
    """The folder of a part of a pipeline: "unet", "scheduler"."""
    return path / name if (path / name).is_dir() else path


def class_of(folder: Path) -> str | None:
    """The class that the config of a model names; None: there is none."""
    path = folder / CONFIG
    name = read_config(path).get("_class_name") if path.is_file() else None
    return name if isinstance(name, str) else None


def scheduler_of(path: Path) -> Path:
    """The file that says how the model of a pipeline was trained; UsageError if there is none."""
    file = part(path, "scheduler") / SCHEDULER
    if not file.is_file():
        raise UsageError(f"{path} has no scheduler/{SCHEDULER}, which says how the model was trained: add it")
    return file


def weights_file(folder: Path, variant: str | None = None) -> Path:
    """The file of the weights, or the index of its shards: safetensors before a pickle, whole before sharded.

    variant: "fp16", "non_ema", as it is in the name of the file; without, the file with none in its name, else fp16,
    else the only one there is.  UsageError for a variant that is not there.
    """
    found: dict[str, Path] = {}
    names = sorted(file.name for file in folder.iterdir() if file.name.startswith(WEIGHTS))
    for form in FORMS:
        for name in names:
            match = form.fullmatch(name)
            if match and not SHARD.fullmatch(match["variant"] or ""):
                found.setdefault(match["variant"] or MAIN, folder / name)
    if not found:
        raise UsageError(f"{folder} has no weights: {WEIGHTS}.safetensors or .bin")
    if variant is None:
        variant = next((name for name in (MAIN, "fp16") if name in found), None)
        if variant is None and len(found) > 1:
            raise UsageError(f"{folder} has the weights {', '.join(found)}: choose by --weights")
    return lookup(f"set of weights in {folder}", variant or next(iter(found)), found)


def all_files(weights: Path) -> tuple[str, ...]:
    """The file of the weights, with the shards if it is their index, which was read before."""
    shards = set(loads(read_text(weights, JSON))["weight_map"].values()) if weights.suffix == ".json" else ()
    return (str(weights), *(str(weights.parent / shard) for shard in sorted(shards)))


def texts(path: Path, *files: Path) -> dict[str, str]:
    """The configs by their names in the folder, with the pipeline's own."""
    return {
        file.relative_to(path).as_posix(): read_text(file, JSON) for file in (path / INDEX, *files) if file.is_file()
    }


def licence(path: Path) -> str:
    """The licence that the model card names."""
    card = path / "README.md"
    try:
        lines = read_text(card).splitlines()[:60] if card.is_file() else []
    except Damaged:  # it is only a text for readers
        lines = []
    named = (line.partition(":")[2].strip().strip("'\"") for line in lines if line.startswith("license:"))
    return next(filter(None, named), "unknown")[:100]
