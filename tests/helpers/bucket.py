"""A stand-in for a bucket behind gs://: objects in memory, with what differs from a file system."""

from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """No append, no folders of their own; `walk` leaves the scheme out, as gcsfs does."""

    cachable = False

    def __init__(self):
        super().__init__()
        self.store, self.pseudo_dirs = {}, []

    @classmethod
    def _strip_protocol(cls, path):
        assert path.startswith(("gs://", "/")), f"{path} has lost its scheme"
        return "/" + path.removeprefix("gs://").strip("/")

    def mkdir(self, path, create_parents=True, **options):
        """Nothing: an object may have any name."""

    def makedirs(self, path, exist_ok=False):
        """Nothing."""

    def open(self, path, mode="rb", **options):
        if "a" in mode:
            raise NotImplementedError("objects cannot be appended to")
        return super().open(path, mode, **options)

    def walk(self, path, **options):
        for root, folders, files in super().walk(path, **options):
            yield root.lstrip("/"), folders, files
