"""Which code computes: versions of fewstep, Python and the libraries, and the git commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the version of each, by name."""
    known = {"fewstep": version("fewstep"), "python": platform.python_version()}
    return known | {name: version(name) for name in LIBRARIES}


def commit() -> str | None:
    """Returns the git commit of the code; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
