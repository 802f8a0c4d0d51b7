"""Logging to Weights & Biases, for experiments that set train.wandb."""

import secrets
from types import ModuleType

import numpy as np
from etils import epath

from fewstep.train.utils.config_values import config_values
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import is_remote, read_text, write_atomic


def require() -> ModuleType:
    """The module wandb; raises RunError if it is not installed."""
    try:
        import wandb
    except ImportError:
        raise RunError("train.wandb is set, but wandb is not installed: pip install 'fewstep[wandb]'") from None
    return wandb


class Wandb:
    """A wandb run in `project`, named like the folder; it resumes under the id stored in the folder's wandb.id.

    Steps that wandb already has are not logged again: a resumed run has the same losses.
    """

    def __init__(self, folder: epath.PathLike, project: str):
        self._wandb, folder = require(), epath.Path(folder)
        path = folder / "wandb.id"
        if not path.exists():
            write_atomic(path, secrets.token_hex(8) + "\n")
        where = {} if is_remote(folder) else {"dir": str(folder)}
        try:
            self._run = self._wandb.init(
                project=project,
                name=folder.name,
                id=read_text(path).strip(),
                resume="allow",
                config=config_values(folder),
                **where,
            )
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(
                f"wandb did not start ({reason}): log in with `wandb login`, set WANDB_MODE=offline, or remove "
                f"train.wandb"
            ) from error
        self._first = self._run.step

    def log(self, step: int, values: dict) -> None:
        """Add one point to each curve."""
        if step >= self._first:
            self._run.log(values, step=step)

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Add an image, uint8 (H, W, 1 or 3)."""
        self.log(step, {"samples": self._wandb.Image(pixels)})

    def flush(self) -> None:
        """Does nothing: wandb uploads in the background."""

    def close(self) -> None:
        """Finish the run: wait until everything is uploaded."""
        self._run.finish()
