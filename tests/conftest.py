"""Settings of the whole suite, made before JAX starts."""

from fewstep.cli import compilation_cache, cpu
from fewstep.train.utils.progress import log_to_stderr

log_to_stderr()  # pytest configures the root logger
cpu.tune()
compilation_cache.enable()
