"""A run trained in this process by the verb itself."""

from fewstep.cli.options import Overrides
from fewstep.cli.verbs import train


def trained(config, folder, overrides=(), step=None, init_from=None):
    train.main(config, folder, Overrides(set=list(overrides)), step, init_from)
