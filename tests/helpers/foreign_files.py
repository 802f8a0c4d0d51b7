"""Files as torch, EDM and flax write them, made without these, and files that nobody should write."""

import io
import pickle
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
CLASSES = {
    "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage", "float64": "DoubleStorage",
    "int64": "LongStorage", "bool": "BoolStorage", "uint8": "ByteStorage",
}  # fmt: skip


class Asked(str):
    """A name that the pickle asks for, "module.name"."""

    __slots__ = ()


class Called:
    """What the pickle calls: a name, with arguments, and the state that is set then."""

    def __init__(self, name: str, *args: Any, state: Any = None):
        self.name, self.args, self.state = name, args, state


class Stored:
    """A storage outside the pickle."""

    def __init__(self, key: str, array: np.ndarray, view: Any = None):
        self.key, self.array, self.view = key, array, view

    def id(self, legacy: bool) -> tuple:
        kind = Asked(f"torch.{CLASSES[self.array.dtype.name]}")
        return "storage", kind, self.key, "cpu", self.array.size, *((self.view,) if legacy else ())


def pickled(value: Any, legacy: bool = False, protocol: int = 2) -> bytes:
    """A pickle of plain values and of the classes above, which the file asks for without our having them."""
    return b"\x80" + bytes([protocol]) + _code(value, legacy) + b"."


def _code(value, legacy):
    def code(inner):
        return _code(inner, legacy)

    match value:
        case Asked():
            module, _, name = value.rpartition(".")
            return b"c" + f"{module}\n{name}\n".encode()
        case Called():
            made = code(Asked(value.name)) + code(tuple(value.args)) + b"R"
            return made if value.state is None else made + code(value.state) + b"b"
        case Stored():
            return code(value.id(legacy)) + b"Q"
        case dict():
            return b"}(" + b"".join(code(key) + code(inner) for key, inner in value.items()) + b"u"
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case np.ndarray():
            kind = Called("numpy.dtype", value.dtype.str[1:], False, True, state=(3, "<", None, None, None, -1, -1, 0))
            made = Called("numpy.core.multiarray._reconstruct", Asked("numpy.ndarray"), (0,), b"b")
            made.state = (1, value.shape, kind, False, value.tobytes())
            return code(made)
    return pickle.dumps(value, 3)[2:-1]


def tensor(array: np.ndarray, key: str = "0", **changes: Any) -> Called:
    """A tensor with a storage of its own; `changes` are its offset, shape, strides and view."""
    items = array.dtype.itemsize
    return Called(
        "torch._utils._rebuild_tensor_v2",
        Stored(key, changes.get("storage", array.ravel(order="K")), changes.get("view")),
        changes.get("offset", 0),
        tuple(changes.get("shape", array.shape)),
        tuple(changes.get("strides", [stride // items for stride in array.strides])),
        False,
        Called("collections.OrderedDict"),
    )


def stored_in(value: Any) -> dict[str, np.ndarray]:
    """The storages in a value."""
    found = {}
    match value:
        case Stored():
            found[value.key] = value.array
        case Called():
            found |= stored_in((*value.args, value.state))
        case dict():
            found |= stored_in(list(value.values()))
        case list() | tuple():
            for inner in value:
                found |= stored_in(inner)
    return found


def zip_file(value: Any, folder: str = "archive", compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """The zip form of torch.save; `members` are added or, by their names, replaced."""
    contents = {"data.pkl": pickled(value), "byteorder": b"little", "version": b"3\n"}
    contents |= {f"data/{key}": array.tobytes() for key, array in stored_in(value).items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in (contents | members).items():
            archive.writestr(f"{folder}/{name}", data)
    return file.getvalue()


def legacy_file(value: Any) -> bytes:
    """The form of torch.save before 1.6."""
    storages = stored_in(value)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = b"".join(pickle.dumps(one, 2) for one in (MAGIC, 1001, system))
    numbers = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return start + pickled(value, legacy=True) + pickle.dumps(list(storages), 2) + numbers


def edm_tensor(array: np.ndarray) -> Called:
    """A parameter in a pickle by itself: its storage is a legacy file in it."""
    data = legacy_file(Stored("1", array.ravel()))
    inner = Called(
        "torch._utils._rebuild_tensor_v2", Called("torch.storage._load_from_bytes", data), 0, array.shape,
        tuple(stride // array.itemsize for stride in array.strides), False, Called("collections.OrderedDict"),
    )  # fmt: skip
    return Called("torch._utils._rebuild_parameter", inner, True, Called("collections.OrderedDict"))


def edm_module(class_name: str, parameters: dict, modules: dict | None = None, **kwargs: Any) -> Called:
    """A module with its class, as EDM's persistence writes it."""
    state = {
        "_parameters": parameters, "_buffers": {}, "_modules": modules or {}, "_init_args": (), "_init_kwargs": kwargs,
        "_non_persistent_buffers_set": set(),
    }  # fmt: skip
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": class_name, "state": state}
    return Called("torch_utils.persistence._reconstruct_persistent_obj", meta)


def safetensors_file(header: bytes, data: bytes, size: int | None = None) -> bytes:
    """A header with the size that it claims, and the bytes after it."""
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def state_dict() -> dict[str, np.ndarray]:
    """Arrays of each type that weights have."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(3, 4))
    return {
        "float32": numbers.astype(np.float32), "float16": numbers.astype(np.float16),
        "bfloat16": numbers.astype(ml_dtypes.bfloat16), "float64": numbers, "bool": numbers > 0,
        "int64": np.arange(5), "scalar": np.array(3.0, np.float32), "empty": np.zeros((0, 3), np.float32),
        "transposed": numbers.astype(np.float32).T,
    }  # fmt: skip
