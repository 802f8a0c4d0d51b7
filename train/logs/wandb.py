"""The run on Weights & Biases, for experiments that name a project there."""

import secrets

from etils import epath

from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import config_values, is_remote, write_atomic


def require():
    """The module wandb; RunError where it is not installed."""
    try:
        import wandb
    except ImportError:
        raise RunError(
            "train.wandb sends the logs to wandb, which is not installed: pip install 'fewstep[wandb]'"
        ) from None
    return wandb


class Wandb:
    """The run of the folder's name in `project`; it goes on under the id in the folder's wandb.id.

    What is there already of a step is left: a resumed run has the same losses.
    """

    def __init__(self, folder, project: str):
        self._wandb, folder = require(), epath.Path(folder)
        path = folder / "wandb.id"
        if not path.exists():
            write_atomic(path, secrets.token_hex(8) + "\n")
        where = {} if is_remote(folder) else {"dir": str(folder)}
        try:
            self._run = self._wandb.init(
                project=project,
                name=folder.name,
                id=path.read_text().strip(),
                resume="allow",
                config=config_values(folder),
                **where,
            )
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(
                f"wandb did not start ({reason}): log in with `wandb login`, set WANDB_MODE=offline, or leave "
                f"train.wandb out"
            ) from error
        self._first = self._run.step

    def log(self, step: int, values: dict):
        """One point on each curve."""
        if step >= self._first:
            self._run.log(values, step=step)

    def picture(self, step: int, pixels):
        """uint8 (H, W, 1 or 3)."""
        self.log(step, {"samples": self._wandb.Image(pixels)})

    def flush(self):
        """wandb sends on its own."""

    def close(self):
        """Wait until all is sent."""
        self._run.finish()
