"""fewstep: how good are the samples for how many network calls?

`import fewstep` gives what a script or a notebook needs; `fewstep --help` is the command line.  The exports are
listed in `__init__.pyi` and loaded on first use, so that `fewstep --help` does not wait for JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
