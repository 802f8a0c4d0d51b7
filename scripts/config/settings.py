"""Samplers, grids, levers and processes as the command line sets them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, update_wrapper

import gin

from fewstep.cli.config import registry
from fewstep.cli.config.messages import one_line
from fewstep.cli.config.parse import bind_override
from fewstep.cli.errors import UserError
from fewstep.samplers import GRIDS, SAMPLERS
from fewstep.samplers.registry import Sampler


@dataclass(frozen=True)
class Settings:
    """The registries with overrides bound, and the option that set each name."""

    samplers: Mapping[str, Sampler]
    grids: Mapping[str, Callable]
    levers: Mapping[str, Callable]
    processes: Mapping[str, Callable]
    given: Mapping[str, str]  # name: the option that set a parameter of it

    def check_used(self, used: Collection[str]) -> None:
        """UserError for an option about a name that is not used."""
        check_used(self.given, used)


def check_used(given: Mapping[str, str], used: Collection[str]) -> None:
    """UserError for an option, {name: option}, about a name that is not used."""
    for name, option in given.items():
        if name not in used:
            raise UserError(f"{option}: {name} is not used here")


def settings(overrides: Iterable[str] = (), run: bool = True) -> Settings:
    """The registries with the overrides bound.

    UserError for an override of anything else, with a run also for one of a process: a run has its own.
    """
    settable = registry.SETTINGS if run else (*registry.SETTINGS, "diffusion")
    gin.clear_config()
    given = {}
    for override in overrides:
        name = bind_override(override)
        if registry.GROUP_OF.get(name, "samplers") not in settable:
            what = "samplers, grids and levers are set here; a run stays as trained"
            what = what if run else "samplers, grids, levers and processes are set here"
            raise UserError(f"--set {override}: only {what}")
        given[name] = f"--set {override}"
    with one_line(f"--set {' --set '.join(overrides)}"):
        samplers = {name: replace(sampler, rows=_bound(name)) for name, sampler in SAMPLERS.items()}
        grids, levers, processes = (
            {name: _bound(name) for name in names} for names in (GRIDS, registry.LEVERS, registry.PROCESSES)
        )
        return Settings(samplers, grids, levers, processes, given)


def _bound(name):
    """The part with its current bindings, which the next `load` does not change."""
    part = registry.CONFIGURABLES[name]
    bound = partial(part, **gin.get_bindings(f"{registry.GROUP_OF[name]}.{name}"))
    return update_wrapper(bound, part, updated=())  # without the signature of a part that is a decorated function
