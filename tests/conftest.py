"""Settings of the whole suite, made before JAX starts."""

import sys
from pathlib import Path

from fewstep.cli import compilation_cache, cpu

cpu.tune()
compilation_cache.enable()
sys.path.insert(0, str(Path(__file__).parent / "helpers"))  # what several test files share
