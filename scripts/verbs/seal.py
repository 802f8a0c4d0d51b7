"""fewstep seal."""

from fewstep.cli import parse
from fewstep.cli.errors import UserError
from fewstep.train.run.seal import seal
from fewstep.train.utils.files import folder_lock
from fewstep.train.utils.messages import say


def main(folder: str) -> None:
    """Seal the files of a run as they are now, and say which were not sealed so."""
    run = parse.path(folder, "the run")
    if not (run / "config.gin").exists():
        raise UserError(f"{folder} is not a run: it has no config.gin (make one with `fewstep train`)")
    with folder_lock(run):
        done = seal(run)
    for name, state in done.items():
        say(f"{run / name}: sealed; it {'had changed since it was written' if state == 'changed' else 'was unsealed'}")
    if not done:
        say(f"{folder}: every seal fits; nothing was written")
