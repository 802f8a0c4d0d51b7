"""The lines of a comparison: samplers x grids x what is swept, with the levers as each of them sets it."""

from itertools import product

from evaluation.drawing import Line
from scripts import config, parse
from scripts.errors import UserError, lookup
from scripts.overrides import target


def lines(names, grids, levers, sweeps, overrides, processes, run=True) -> list[Line]:
    """Lines for sampler names and grid names (None: the default), lever texts, sweeps such as "cfg.scale=1,2,3" and
    overrides.

    A lever that is swept and not among the levers is put around them.  UserError for what is unknown, swept twice, or
    set and not used: on the processes, which have default grids and may be set where there is no run.
    """
    swept = [_points(sweep) for sweep in sweeps]
    found, given = {}, {}
    used = set() if run else {type(process).__name__ for process in processes}
    for point in product(*swept):
        settings = config.settings([*overrides, *(f"{name}={value}" for name, value in point)], run)
        given |= settings.given
        texts = [*levers, *_added(point, levers, settings)]
        wrap = [parse.lever(text, settings.levers) for text in texts]
        around = {name for name, _ in wrap}
        for name, grid in product(names, grids or [None]):
            sampler = lookup("sampler", name, settings.samplers)
            if grid is not None:
                lookup("grid", grid, settings.grids)
            here = {name, *around, *([grid] if grid else (sampler.grid_for(process) for process in processes))}
            used |= here
            mine = {at: value for at, value in point if at.split(".")[0] in here}
            label = " ".join([name, *([grid] if len(grids) > 1 else []), *(f"{a}={v}" for a, v in mine.items())])
            found[label] = Line(label, sampler, settings.grids, grid, tuple(lever for _, lever in wrap), mine)
    for name, override in given.items():
        if name not in used:
            raise UserError(f"--set {override}: {name} is not used here")
    return list(found.values())


def _points(sweep):
    """[("cfg.scale", "1"), ...] of "cfg.scale=1,2"."""
    name, equals, values = sweep.partition("=")
    values = [value.strip() for value in values.split(",")]
    if not equals or name.count(".") != 1 or not all(values) or len(set(values)) < len(values):
        raise UserError(f"--sweep {sweep}: write name.parameter=value,value,..., such as cfg.scale=1,2,3")
    return [(target(sweep), value) for value in values]


def _added(point, levers, settings):
    """Levers that are swept and were not asked for."""
    asked = {text.partition("(")[0].strip() for text in levers}
    swept = dict.fromkeys(at.split(".")[0] for at, _ in point)
    return [name for name in swept if name in settings.levers and name not in asked]
