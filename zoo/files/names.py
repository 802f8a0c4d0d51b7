"""The names that pickles of weights ask for, and what each makes here.  Nothing of torch is imported."""

import re
from typing import Any

import numpy as np

from fewstep.zoo.files import numpy_names
from fewstep.zoo.files.keys import keys
from fewstep.zoo.files.records import Namespace, Persistent
from fewstep.zoo.files.tensors import DTYPES, MOST_DIMENSIONS, STORAGES, Storage
from fewstep.zoo.files.unpickler import Known

# Their objects are records of a name and a state, or plain containers; none of these classes is ever made.
MODULES = re.compile(r"torch\.nn\.modules(\.[a-z_0-9]+)+\.[A-Z]\w*")
FUNCTIONS = re.compile(r"torch\.nn\.functional\.[a-z]\w*")  # attributes of modules: only their names are kept
STATES = re.compile(r"optax(\.\w+)*\.[A-Z]\w*")
LATIN = ("latin1", "latin-1")


def find(name: str) -> Known | None:
    """What a name of a pickle stands for; None for all that is not opened."""
    if found := KNOWN.get(name):
        return found
    if MODULES.fullmatch(name):
        return Known(name, lambda source, args: Persistent(name))
    if FUNCTIONS.fullmatch(name):
        return Known(name)
    if STATES.fullmatch(name):  # of an optimizer: named tuples
        return Known(name, lambda source, args: args)
    return None


def storage_dtype(known: Any) -> np.dtype | None:
    """The type of the numbers in a storage of this class; None if it is no such class."""
    name = known.name.rpartition(".")[2] if isinstance(known, Known) else None
    return np.dtype(DTYPES[STORAGES[name]]) if name in STORAGES else None


def _wrong(source, name):
    return source.damaged(f"is damaged (arguments of {name}): fetch it again")


def _dict(source, args):
    match args:
        case ():
            return {}
        case (dict(items),):
            source.step(len(items))
            return dict(zip(keys(source, items), items.values(), strict=True))
        case (list(pairs),) if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            source.step(len(pairs))
            if all(isinstance(key, str | int) for key, _ in pairs):  # OrderedDict of Python 2
                return dict(zip(keys(source, [key for key, _ in pairs]), [value for _, value in pairs], strict=True))
    raise _wrong(source, "dict")


def _default_dict(source, args):
    return _dict(source, args[1:])  # the first is the class of its defaults


def _set(source, args):
    match args:
        case ():
            return set()
        case (list(items),) if all(item is None or isinstance(item, str | int | float) for item in items):
            source.step(len(items))
            return set(keys(source, items))
    raise _wrong(source, "set")


def _frozenset(source, args):
    return frozenset(_set(source, args))


def _complex(source, args):
    match args:
        case (float(real), float(imaginary)):
            return complex(real, imaginary)
    raise _wrong(source, "complex")


def _bytes(source, args):
    if args == ():
        return b""
    raise _wrong(source, "bytes")


def _encode(source, args):
    """Bytes, as protocol 2 of Python 3 writes them."""
    match args:
        case (str(text), str(how)) if how in LATIN:
            source.copy(len(text))
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                pass
    raise _wrong(source, "_codecs.encode")


def _namespace(source, args):
    return Namespace()


def _path(source, args):
    if all(isinstance(part, str) for part in args):
        source.copy(sum(map(len, args)))
        return "/".join(args).replace("//", "/")
    raise _wrong(source, "pathlib.Path")


def _size(source, args):
    match args:
        case (list() | tuple() as items,) if len(items) <= MOST_DIMENSIONS and all(isinstance(n, int) for n in items):
            return tuple(items)
    raise _wrong(source, "torch.Size")


def _device(source, args):
    match args:
        case (str(kind),):
            return kind
        case (str(kind), int(number)):
            return f"{kind}:{number}"
    raise _wrong(source, "torch.device")


def _tensor(source, args):
    match args:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *rest):
            if len(rest) > 2 and not (rest[2] is None or (isinstance(rest[2], dict) and not rest[2])):
                raise source.damaged("holds a conjugate or negative view of a tensor: save it with .resolve_conj()")
            return storage.strided(source, offset, shape, strides)
    raise _wrong(source, "torch._utils._rebuild_tensor_v2")


def _typed_tensor(source, args):
    match args:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), _, _, Known() as kind, *_):
            name = kind.name.removeprefix("torch.")
            if name in DTYPES:
                return storage.strided(source, offset, shape, strides, np.dtype(DTYPES[name]))
    raise _wrong(source, "torch._utils._rebuild_tensor_v3")


def _parameter(source, args):
    match args:
        case (np.ndarray() | None as data, *_):  # None while storages are not yet found
            return data
    raise _wrong(source, "torch._utils._rebuild_parameter")


def _persistent(source, args):
    match args:
        case ({"class_name": str(name), "module_src": str(text), "state": dict(state)},):
            if all(isinstance(key, str) for key in state):
                return Persistent(name, text, state)
    raise _wrong(source, "torch_utils.persistence._reconstruct_persistent_obj")


def _plain(value):
    """A name that takes no argument, such as a type, which is only passed around."""
    return Known(value)


KNOWN: dict[str, Known] = {
    "collections.OrderedDict": Known("collections.OrderedDict", _dict),
    "collections.defaultdict": Known("collections.defaultdict", _default_dict),
    "_codecs.encode": Known("_codecs.encode", _encode),
    "argparse.Namespace": Known("argparse.Namespace", _namespace),
    "types.SimpleNamespace": Known("types.SimpleNamespace", _namespace),
    "dnnlib.util.EasyDict": Known("dnnlib.util.EasyDict", _dict),
    "flax.core.frozen_dict.FrozenDict": Known("flax.core.frozen_dict.FrozenDict", _dict),
    "torch.Size": Known("torch.Size", _size),
    "torch.device": Known("torch.device", _device),
    "torch._utils._rebuild_tensor": Known("torch._utils._rebuild_tensor", _tensor),
    "torch._utils._rebuild_tensor_v2": Known("torch._utils._rebuild_tensor_v2", _tensor),
    "torch._utils._rebuild_tensor_v3": Known("torch._utils._rebuild_tensor_v3", _typed_tensor),
    "torch._utils._rebuild_parameter": Known("torch._utils._rebuild_parameter", _parameter),
    "torch._utils._rebuild_parameter_with_state": Known("torch._utils._rebuild_parameter_with_state", _parameter),
    "torch_utils.persistence._reconstruct_persistent_obj": Known("torch_utils.persistence", _persistent),
}
for _module in ("builtins", "__builtin__"):
    for _name, _maker in {
        "dict": _dict, "set": _set, "frozenset": _frozenset, "complex": _complex, "bytes": _bytes
    }.items():  # fmt: skip
        KNOWN[f"{_module}.{_name}"] = Known(f"builtins.{_name}", _maker)
    for _name in ("int", "float", "bool", "str", "list", "tuple", "object"):  # of defaultdict, and in arguments
        KNOWN[f"{_module}.{_name}"] = Known(f"builtins.{_name}")
for _module in ("pathlib", "pathlib._local"):
    for _name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
        KNOWN[f"{_module}.{_name}"] = Known(f"pathlib.{_name}", _path)
for _name in STORAGES:
    KNOWN[f"torch.{_name}"] = KNOWN[f"torch.storage.{_name}"] = Known(f"torch.{_name}")
for _name in DTYPES:
    KNOWN[f"torch.{_name}"] = Known(f"torch.{_name}")
KNOWN |= numpy_names.KNOWN
