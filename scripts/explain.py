"""An error as one line for the user, or None if it is a bug."""

import re

from fewstep.cli import distributed
from fewstep.errors import UsageError


def explained(error: Exception) -> str | None:
    """The message for an error: a user error, an unusable run or file, lack of memory, a lost process.

    None for everything else, which is a bug: its traceback is shown.
    """
    if distributed.broken(error):
        return distributed.explained(error)
    if type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"out of memory on the device ({str(error).splitlines()[0][:150]}): train with a larger train.accumulate, "
            f"a smaller train.batch_size, or the other options of docs/scale.md; compare with a smaller --batch"
        )
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): ask for fewer images, or for other features"
    return _with_options(str(error)) if isinstance(error, UsageError | OSError) else None


def _with_options(message):
    """A message that names arguments of Python functions, with the options of the same meaning."""
    message = re.sub(r"(?<![\w./-])init_from(=|\b)", lambda found: "--init-from" + " " * bool(found[1]), message)
    return re.sub(r"(^|\bgive )step=", r"\1--step ", message).replace("trust=True", "--trust")
