"""fewstep data."""

import shlex

from fewstep.cli.errors import UserError
from fewstep.cli.signals import terminating
from fewstep.train.data.packing import pack as write
from fewstep.train.utils.messages import say


def pack(folder: str, out: str, size: int, channels: int, strict: bool, shard_size: int) -> None:
    """Pack the folder, then print how to train on it."""
    if not out:
        raise UserError("OUT is empty: name the folder to write")
    if "://" in out:
        raise UserError(f"{out}: shards are written to a local folder; copy it to the bucket afterwards")
    with terminating():
        packed = write(folder, out, size, channels, strict, shard_size)
    form = "x".join(map(str, packed.shape))
    classes = f" of {packed.classes} classes" if packed.classes else ""
    shards = f"{packed.shards} shard{'s' * (packed.shards > 1)}"
    told = f"--set train.data=@array_record --set {shlex.quote(f'array_record.path={packed.out}')}"
    say(f"{packed.out}: {packed.images} images {form}{classes} in {shards}. Next: fewstep train CONFIG {told}")
