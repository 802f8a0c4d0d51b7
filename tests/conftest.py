"""Settings of the whole suite, made before JAX starts."""

from fewstep.cli import compilation_cache, cpu

cpu.tune()
compilation_cache.enable()
