"""How images are sampled from a run: names are looked up before the run is opened, then applied to it."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fewstep.cli import parse
from fewstep.cli.config.messages import target
from fewstep.cli.config.open_run import open_run
from fewstep.cli.config.settings import Settings, settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Levers, Opening, Reading, Sampling
from fewstep.diffusion.denoiser import names_of
from fewstep.errors import lookup
from fewstep.evaluation.drawing import Line
from fewstep.ranges import MOST_CALLS, within
from fewstep.samplers import Tableau, default_nfe, default_sampler, supports
from fewstep.samplers.registry import FITTED, Sampler, required
from fewstep.train.data.absent import named
from fewstep.train.run import Run, tables
from fewstep.train.run.lever_texts import lever
from fewstep.train.run.levers import IMPLIED, LEVERS
from fewstep.train.run.run import read_description
from fewstep.train.utils.files import relative


def opened(folder: str, opening: Opening, calibrate: bool = False) -> Run:
    """The run in a folder."""
    how: dict[str, Any] = {"mesh": parse.mesh(opening.mesh), "calibrate": calibrate, "dtype": opening.dtype}
    return read(folder, opening, step=opening.step, **how)


def read(folder: str, reading: Reading, **how: Any) -> Run:
    """The run in a folder, with the data that are given; how: other arguments of `open_run`."""
    run = parse.path(folder, "the run")
    if reading.data is not None and (run / "run.json").exists():
        how["data"] = named(reading.data, read_description(run)["shape"])
    return open_run(run, reading.trust, **how)


class Chosen(NamedTuple):
    """A way to sample a run."""

    name: str
    sampler: Sampler
    nfe: int
    grid: str
    levers: list[Callable]
    settings: Settings

    def table(self, run: Run) -> Tableau:
        """The sampler's table at the budget, on the grid."""
        return run.table(self.sampler, self.nfe, self.settings.grids.get(self.grid), self.levers)


class LookedUp(NamedTuple):
    """Valid names and numbers; None means that the run decides."""

    settings: Settings
    levers: list[tuple[str, Any]]
    sampling: Sampling

    def on(self, run: Run) -> Chosen:
        """For a run; UserError where the model does not support the sampler, and for settings that are not used."""
        name = self.sampling.sampler or default_sampler(run.denoiser)
        sampler = tables.sampler(run, tables.named(name, self.settings.samplers), [one for _, one in self.levers])
        if not supports(run.denoiser, sampler):
            learned = names_of(run.denoiser.capabilities)
            raise UserError(
                f"{name} requires {names_of(required(sampler))}, and {run.folder} learned only {learned}: choose "
                f"another sampler, such as {default_sampler(run.denoiser)}"
            )
        if tables.is_fitted(name) and self.sampling.grid:
            raise UserError(f"--grid {self.sampling.grid}: {name} has times of its own, leave it out")
        grid = self.sampling.grid or sampler.grid_for(run.model.process)
        self.settings.check_used({*sampler.names, grid, *(lever for lever, _ in self.levers)})
        nfe, around = self.sampling.nfe or default_nfe(run.denoiser, sampler), [lever for _, lever in self.levers]
        return Chosen(name, sampler, nfe, grid, [*around, *sampler.levers], self.settings)


def look_up(sampling: Sampling, overrides: list[str]) -> LookedUp:
    """Look up the sampler, grid and levers; UserError for unknown names."""
    known = settings(overrides)
    if sampling.sampler is not None:
        tables.named(sampling.sampler, known.samplers)
    if sampling.grid is not None:
        lookup("grid", sampling.grid, known.grids)
    if sampling.nfe is not None:
        within(sampling.nfe, "--nfe", 1, MOST_CALLS)
    return LookedUp(known, levers(sampling, overrides, known), sampling)


def levers(given: Levers, overrides: list[str], known: Settings) -> list[tuple[str, Any]]:
    """[(name, lever)] of their texts."""
    bound = [*map(target, overrides)]
    return [lever(text, known.levers, bound, "--lever") for text in with_implied(given.lever, bound)]


def implied(overrides: Sequence[str]) -> list[str]:
    """Those of the settings that add a lever by themselves."""
    return [text for text in overrides if target(text).split(".")[0] in IMPLIED]


def with_implied(texts: Sequence[str], bound: Sequence[str]) -> list[str]:
    """The texts of levers, with those that the settings `bound` add."""
    written, set_here = {text.partition("(")[0].strip() for text in texts}, {name.split(".")[0] for name in bound}
    return [*(name for name in IMPLIED if name in set_here - written), *texts]


def again(
    run: Run, opening: Opening, sampler: Sampler, nfe: int | str, grid: str | None, levers: Sequence[str],
    overrides: Sequence[str],
) -> str:  # fmt: skip
    """The command that samples a run in this way, with the options it was opened with; of the overrides those that
    apply."""
    grid = None if sampler.grid == FITTED else grid
    used = {*sampler.names, *IMPLIED, grid or sampler.grid_for(run.model.process)}
    used |= {text.partition("(")[0] for text in levers}
    words = ["fewstep", "sample", relative(run.folder), "--sampler", sampler.name, "--nfe", str(nfe)]
    words += ["--grid", grid] if grid else []
    words += [word for text in levers for word in ("--lever", text)]
    words += [word for text in overrides if target(text).split(".")[0] in used for word in ("--set", text)]
    words += [
        word
        for name in ("step", "dtype", "data")
        if (value := getattr(opening, name)) is not None
        for word in (f"--{name}", str(value))
    ]
    return shlex.join(words + ["--trust"] * opening.trust)


def again_line(
    run: Run, opening: Opening, line: Line, nfe: int | str, levers: Sequence[str], overrides: Sequence[str]
) -> str:
    """`again` for a line of a comparison with what is swept in it; levers: the texts of those that were given."""
    swept = [f"{at}={value}" for at, value in line.swept.items() if at.split(".")[0] not in LEVERS]
    return again(run, opening, line.sampler, nfe, line.grid, _with_swept(levers, line), [*overrides, *swept])


def _with_swept(texts: Sequence[str], line: Line) -> list[str]:
    """The texts of levers, with the swept settings in them."""
    values: dict[str, list[str]] = {}
    for at, value in line.swept.items():
        name, _, parameter = at.partition(".")
        if name in LEVERS:
            values.setdefault(name, []).append(f"{parameter}={value}")
    found = []
    for text in texts:
        name, bracket, given = text.partition("(")
        settled = [given.rstrip().removesuffix(")")] if bracket else []
        swept = values.pop(name.strip(), [])
        found.append(f"{name.strip()}({', '.join([*settled, *swept])})" if swept else text)
    return found + [f"{name}({', '.join(swept)})" for name, swept in values.items()]
