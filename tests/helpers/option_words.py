"""The words of `fewstep sample` that an importer prints."""

import shlex
from argparse import ArgumentParser

from fewstep.cli.options import Sampling
from fewstep.cli.verbs.sampling import look_up
from fewstep.samplers.registry import table_at


def table_of(found):
    """The table that they ask for, on the model's process; every one of them is used, and nothing else is in them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--sampler")
    parser.add_argument("--nfe", type=int)
    parser.add_argument("--grid")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--lever", action="append", default=[])
    given = parser.parse_args(shlex.split(found.options))
    asked = Sampling(sampler=given.sampler, nfe=given.nfe, grid=given.grid, lever=given.lever)
    looked_up = look_up(asked, given.set)
    sampler = looked_up.settings.samplers[given.sampler]
    grid = given.grid or sampler.grid_for(found.process)
    looked_up.settings.check_used({given.sampler, grid, *(name for name, _ in looked_up.levers)})
    table = table_at(sampler, found.process, given.nfe, looked_up.settings.grids[grid])
    assert table.nfe == given.nfe
    return table
