"""The values in the canonical config of a run, as text."""

from etils import epath

from fewstep.train.utils.sealed import read_config


def values_of(text: str) -> dict[str, str]:
    """The bindings and macros of a config in canonical form, {"train.steps": "1500", ...}."""
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def config_values(folder: epath.PathLike) -> dict[str, str]:
    """Those of a run's config.gin; {} if there is no such file."""
    path = epath.Path(folder) / "config.gin"
    return values_of(read_config(path)) if path.exists() else {}


def steps_of(values: dict[str, str]) -> int | None:
    """The number of steps, as by `number_of`."""
    return number_of(values, "train.steps")


def number_of(values: dict[str, str], name: str) -> int | None:
    """A whole number, also if it is set by a macro; None if there is none."""
    text = values.get(name, "")
    text = values.get(text[1:], "") if text[:1] == "%" else text
    return int(text) if text.isdigit() else None
