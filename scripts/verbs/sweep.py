"""The lines of a comparison: samplers x grids x swept values, each with its levers."""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import product
from typing import NamedTuple

from fewstep.cli import parse
from fewstep.cli.config.messages import target
from fewstep.cli.config.settings import Settings, check_used, settings
from fewstep.cli.errors import UserError
from fewstep.cli.verbs.sampling import with_implied
from fewstep.diffusion.denoiser import Lever
from fewstep.diffusion.process import Process
from fewstep.errors import lookup
from fewstep.evaluation import asked
from fewstep.evaluation.drawing import Line
from fewstep.samplers.registry import COMPARED_SAMPLERS
from fewstep.train.run import tables
from fewstep.train.run.lever_texts import lever


class _Part(NamedTuple):
    """A sampler on a grid at a point of the sweeps."""

    point: tuple[tuple[str, str], ...]  # (name, value) of what is swept
    settings: Settings
    sampler: str
    grid: str | None
    levers: list[tuple[str, Lever]]


class Asked(NamedTuple):
    """The lines and budgets of a comparison, as given on the command line."""

    nfe: str
    samplers: str | None
    grids: str | None
    levers: list[str]
    sweeps: list[str]
    overrides: list[str]

    def budgets(self) -> list[int]:
        """The budgets, sorted, each once."""
        return asked.budgets(parse.whole_numbers(self.nfe, "--nfe"), "--nfe")

    def lines(self, run: bool = True) -> "Lines":
        """The lines to compare, for runs or for processes."""
        names = [*COMPARED_SAMPLERS] if self.samplers is None else parse.words(self.samplers, "--sampler")
        grids = parse.words(self.grids, "--grid")
        return lines(names, grids, self.levers, self.sweeps, self.overrides, run)


class Lines(NamedTuple):
    """The requested lines, before the runs are known."""

    parts: list[_Part]
    several: bool  # grids
    given: dict[str, str]  # name: the option that set something of it

    @property
    def levers(self) -> set[str]:
        """The names of the levers."""
        return {name for part in self.parts for name, _ in part.levers}

    def on(self, processes: Collection[Process], named: Iterable[str] = ()) -> list[Line]:
        """The lines on processes, which have default grids; UserError for settings that are not used; processes
        `named` on the command line count as used."""
        found, used = {}, {*named}
        for point, known, name, grid, wrap in self.parts:
            sampler = tables.named(name, known.samplers)
            spaced = [grid] if grid else map(sampler.grid_for, processes)
            here = {*sampler.names, *(lever for lever, _ in wrap), *spaced}
            used |= here
            mine = {at: value for at, value in point if at.split(".")[0] in here}
            label = " ".join([name, *([grid] if self.several and grid else []), *(f"{a}={v}" for a, v in mine.items())])
            found[label] = Line(label, sampler, known.grids, grid, tuple(lever for _, lever in wrap), mine)
        check_used(self.given, used)
        return list(found.values())


def lines(
    names: Sequence[str], grids: Sequence[str], levers: Sequence[str], sweeps: Sequence[str], overrides: Sequence[str],
    run: bool = True,
) -> Lines:  # fmt: skip
    """Lines for sampler names and grid names (none: the default), lever texts, sweeps such as "cfg.scale=1,2,3" and
    overrides, of processes too where there is no run.

    A swept lever that is not among the levers is added outside them.  UserError for what is unknown or set twice.
    """
    swept = [_points(sweep) for sweep in sweeps]
    bound = [*map(target, overrides), *map(target, sweeps)]
    for sweep in sweeps:
        if bound.count(target(sweep)) > 1:
            raise UserError(f"--sweep {sweep}: {target(sweep)} is set twice")
    parts: list[_Part] = []
    given: dict[str, str] = {}
    for point in product(*swept):
        bound_here = _settings(overrides, point, run)
        given |= bound_here.given
        given |= {target(sweep).split(".")[0]: f"--sweep {sweep}" for sweep in sweeps}
        texts = [*with_implied(levers, [*map(target, overrides)]), *_added(point, levers, bound_here)]
        wrap = [lever(text, bound_here.levers, bound, "--lever") for text in texts]
        for name in names:
            tables.named(name, bound_here.samplers)
        spaced = [(n, g) for n in names for g in ([None] if tables.is_fitted(n) else [*grids] or [None])]
        for name, grid in spaced:
            if grid is not None:
                lookup("grid", grid, bound_here.grids)
            parts.append(_Part(point, bound_here, name, grid, wrap))
    return Lines(parts, len(grids) > 1, given)


def _points(sweep):
    """[("cfg.scale", "1"), ...] of "cfg.scale=1,2"; commas within brackets belong to a value."""
    name, equals, values = sweep.partition("=")
    values = [value.strip() for value in re.split(r",(?![^(\[]*[)\]])", values)]
    if not equals or name.count(".") != 1 or not all(values) or len(set(values)) < len(values):
        raise UserError(f"--sweep {sweep}: write name.parameter=value,value,..., such as cfg.scale=1,2,3")
    return [(target(sweep), value) for value in values]


def _settings(overrides, point, run):
    """The registries with overrides and a point of the sweeps; errors in the latter name the sweep."""
    swept = [f"{name}={value}" for name, value in point]
    try:
        return settings([*overrides, *swept], run)
    except UserError as error:
        text = str(error)
        for override in swept:
            text = text.replace(f"--set {override}", f"--sweep {override}")
        raise UserError(text) from None


def _added(point, levers, settings):
    """Swept levers that were not given."""
    asked = {text.partition("(")[0].strip() for text in levers}
    swept = dict.fromkeys(at.split(".")[0] for at, _ in point)
    return [name for name in swept if name in settings.levers and name not in asked]
