"""Configs: the only place that uses gin.

    registry.py    what a config may name, and what each parameter takes
    parse.py       the text of a config, or of --set, as bindings: parsed once
    messages.py    gin's and Python's errors as one line, with the place
    load.py        a config's bindings, the experiment they describe, and its canonical text
    settings.py    samplers, grids, levers and processes as --set changes them
    open_run.py    a run folder, opened by its own config

Every public constructor is registered under its own name, so a config reads like the calls it makes and the library
never depends on a global.  gin's bindings are global to the process; what outlives the next `load` is copied at once.
"""
