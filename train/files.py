"""Writing small files whole or not at all."""

from etils import epath


def write_atomic(path, data: bytes | str) -> None:
    """Write `data` to `path` (a str or epath.Path, local or in a bucket) so that no reader ever sees a part of it.

    Folders are made as needed.  The data go to NAME.tmp in the same folder, which then replaces NAME.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    if isinstance(data, bytes):
        partial.write_bytes(data)
    else:
        partial.write_text(data)
    partial.replace(path)
