"""Settings of the whole suite, made before JAX starts."""

from scripts import cpu

cpu.tune()
