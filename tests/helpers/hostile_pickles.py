"""Pickles that call something, or use the machine that reads them against its host."""

import os
import pickle
from functools import cache

import foreign_files as ff
import numpy as np

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def calls(canary):
    """Pickles that call something, as themselves and where a checkpoint has its pickle."""
    touch = f"touch {canary}"
    python = f"open({canary!r}, 'w')"
    asked = {
        "os_system": ff.Called("os.system", touch),
        "posix_system": ff.Called("posix.system", touch),
        "eval": ff.Called("builtins.eval", python),
        "exec": ff.Called("builtins.exec", python),
        "old_eval": ff.Called("__builtin__.eval", python),
        "open": ff.Called("builtins.open", canary, "w"),
        "io_open": ff.Called("io.open", canary, "w"),
        "import": ff.Called("builtins.__import__", "antigravity"),
        "importlib": ff.Called("importlib.import_module", "antigravity"),
        "runpy": ff.Called("runpy.run_path", canary),
        "subprocess": ff.Called("subprocess.Popen", ["touch", canary]),
        "pty": ff.Called("pty.spawn", ["touch", canary]),
        "getattr": ff.Called("builtins.getattr", ff.Asked("builtins.object"), "__subclasses__"),
        "partial": ff.Called("functools.partial", ff.Asked("os.system"), touch),
        "partial_reduce": ff.Called("functools.reduce", ff.Asked("os.system"), [touch]),
        "map": ff.Called("builtins.map", ff.Asked("os.system"), [touch]),
        "attrgetter": ff.Called("operator.attrgetter", "system"),
        "methodcaller": ff.Called("operator.methodcaller", "system", touch),
        "numpy_load": ff.Called("numpy.load", canary, None, True),
        "numpy_fromfile": ff.Called("numpy.fromfile", "/dev/zero"),
        "numpy_runstring": ff.Called("numpy.testing._private.utils.runstring", python, {}),
        "numpy_memmap": ff.Called("numpy.memmap", canary, "u1", "w+"),
        "numpy_buffer": ff.Called("numpy._core.multiarray._reconstruct", ff.Asked("numpy.memmap"), (0,), b"b"),
        "torch_load": ff.Called("torch.serialization.load", canary),
        "torch_compile": ff.Called("torch.jit._script.unpackage_script_module", canary),
        "code": ff.Called("types.CodeType", 0),
        "function": ff.Called("types.FunctionType", 0),
        "marshal": ff.Called("marshal.loads", b"c"),
        "pickle_loads": ff.Called("pickle.loads", b"cos\nsystem\n(X\x01\0\0\0atR."),
        "ctypes": ff.Called("ctypes.CDLL", "libc.so.6"),
        "webbrowser": ff.Called("webbrowser.open", "http://127.0.0.1/"),
        "codec": ff.Called("_codecs.encode", "a" * 100, "zlib_codec"),
        "codec_decode": ff.Called("_codecs.decode", b"a", "rot13"),
        "setstate": ff.Called("collections.deque", state={"__setstate__": ff.Asked("os.system")}),
        "class_of_module": ff.Called("torch.nn.modules.linear.__class__"),
        "module_trick": ff.Called("torch.nn.modules.os.system", touch),
        "dotted": ff.Called("torch._utils._rebuild_tensor_v2.__globals__", touch),
        "edm_source": ff.Called("torch_utils.persistence._src_to_module", python),
        "default_dict": ff.Called("collections.defaultdict", ff.Called("os.system", touch)),
        "dtype_name": ff.Called("numpy.dtype", "O8", False, True),
        "newline": b"\x80\x04\x8c\x05os\n\x1b[\x8c\x06system\x93.",
    }
    pickles = {name: value if isinstance(value, bytes) else ff.pickled(value) for name, value in asked.items()}
    found = {f"{name}.pkl": data for name, data in pickles.items()}
    inner = ff.Called("torch.storage._load_from_bytes", pickles["os_system"])
    return found | {
        "os_system.pt": ff.zip_file(asked["os_system"]),
        "os_system.legacy.pt": ff.legacy_file(asked["os_system"]),
        "within.pkl": ff.pickled({"ema": ff.edm_module("Net", {"weight": inner})}),
        "legacy_within.pkl": ff.pickled(ff.Called("torch.storage._load_from_bytes", ff.legacy_file(asked["eval"]))),
        "persistent_id.pt": ff.zip_file(0, **{"data.pkl": ff.pickled(asked["exec"])[:-1] + b"Q."}),
        "instance.pkl": b"\x80\x02(" + ff._code(touch, False) + b"ios\nsystem\n.",
        "object.pkl": b"\x80\x02(cos\nsystem\n" + ff._code(touch, False) + b"o.",
        "new.pkl": b"\x80\x02cos\nsystem\n" + ff._code((touch,), False) + b"\x81.",
        "new_named.pkl": b"\x80\x04carg\nparse\n)}\x92.",
        "chain.pkl": pickle.dumps(Chain(touch)),
        "script_module.pt": ff.zip_file(0, **{"constants.pkl": b"", "code/model.py": b""}),
    }


class Chain:
    """What reduces to a call of what reduces to a call."""

    def __init__(self, words):
        self.words = words

    def __reduce__(self):
        return getattr, (Inner(self.words), "real")


class Inner(Chain):
    def __reduce__(self):
        return os.system, (self.words,)


def machines():
    """Pickles that use the machine against its host."""
    laughs = b"\x80\x04]" + b"\x94(" + b"N" * 10 + b"e"
    for i in range(40):
        laughs += b"]\x94(" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e"
    keys = b"\x80\x04)" + b"2\x86" * 60
    array = ff._code(np.zeros(1 << 16), False)
    return {
        "no_stop.pkl": b"\x80\x04N",
        "nothing.pkl": b"\x80\x04.",
        "below_the_mark.pkl": b"\x80\x04N(0000.",
        "no_mark.pkl": b"\x80\x04]e.",
        "memo.pkl": b"\x80\x04Nr\xff\xff\xff\xff" + b"j\xfe\xff\xff\xff.",
        "text_of_4gb.pkl": b"\x80\x04X\xff\xff\xff\xffa.",
        "bytes_of_2_63.pkl": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fa.",
        "bytearray.pkl": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"a.",
        "long.pkl": b"\x80\x04\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b".",
        "negative_long.pkl": b"\x80\x04\x8b\xff\xff\xff\xff.",
        "digits.pkl": b"\x80\x02I" + b"9" * 50_000 + b"\n.",
        "frame.pkl": b"\x80\x04\x95" + b"\xff" * 8 + b".",
        "extension.pkl": b"\x80\x02\x82\x01.",
        "buffer.pkl": b"\x80\x05\x97.",
        "protocol_1.pkl": b"(" * 1000 + b".",
        "deep_tuples.pkl": b"\x80\x04)" + b"\x85" * 100_000 + b".",
        "deep_lists.pkl": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "in_itself.pkl": b"\x80\x04]\x94h\x00a.",
        "dict_in_itself.pkl": b"\x80\x04}\x94K\x01h\x00s.",
        "billion_laughs.pkl": laughs + b".",
        "billion_texts.pkl": b"\x80\x04X\x00\x00\x01\x00" + b"a" * (1 << 16) + b"\x94("
        + b"c_codecs\nencode\nh\x00X\x06\0\0\0latin1\x86R" * 20_000 + b"t.",
        "billion_sets.pkl": b"\x80\x04(" + b"K\x01" * 50_000 + b"l\x94("
        + b"c__builtin__\nset\nh\x00\x85R" * 20_000 + b"t.",
        "billion_arrays.pkl": b"\x80\x04" + array + b"r\x00\x00\x10\x00(" + b"j\x00\x00\x10\x00" * 10_000 + b"t.",
        "many_sets.pkl": b"\x80\x04(" + b"\x8f" * 3_000_000 + b"t.",
        "hash.pkl": keys + b"\x94}h\x00Ns.",
        "hash_of_set.pkl": keys + b"\x94\x8f(h\x00\x90.",
        "key_is_a_list.pkl": b"\x80\x04}]Ns.",
        "append_to_a_text.pkl": b"\x80\x04X\x01\0\0\0aNa.",
        "build_a_text.pkl": b"\x80\x04X\x01\0\0\0a}b.",
        "call_a_text.pkl": b"\x80\x04X\x01\0\0\0a)R.",
        "call_of_no_tuple.pkl": b"\x80\x04ccollections\nOrderedDict\nNR.",
        "state_is_a_list.pkl": b"\x80\x04cargparse\nNamespace\n)\x81]b.",
        "name_is_a_number.pkl": b"\x80\x04K\x01K\x02\x93.",
        "no_utf8.pkl": b"\x80\x04X\x01\0\0\0\xff.",
        "more_after_it.pkl": b"\x80\x04N." + b"cos\nsystem\n.",
        "edm_of_numbers.pkl": ff.pickled(ff.Called("torch_utils.persistence._reconstruct_persistent_obj", {1: 2})),
        "storage_in_no_archive.pkl": ff.pickled(ff.tensor(NUMBERS)),
        "loads_itself.pkl": _nested(),
    }  # fmt: skip


def colliding():
    """Pickles whose keys are all compared with each other, in dicts and sets; they are no dicts or sets here."""
    modulus, far = 2**61 - 1, 1 << 52
    same = b"".join(ff._code(k * modulus, False) for k in range(20_000))
    walk = [0]  # the slots of a dict in the order in which it tries them
    while len(walk) < 40_000:
        walk.append((5 * walk[-1] + 1) % (1 << 16))
    steep = [2.0**n for n in range(-1022, 50)] * 100
    return {
        "equal_hashes.pkl": _dict(b"N".join(ff._code(k * modulus, False) for k in range(20_001)) + b"N"),
        "equal_hashes_of_a_set.pkl": b"\x80\x04\x8f(" + same + b"\x90.",
        "equal_hashes_of_a_list.pkl": b"\x80\x04c__builtin__\nset\n(](" + same + b"etR.",
        "slots.pkl": _keys(walk + [far + (n << 16) for n in range(20_000)]),
        "slots.msgpack": _packed([*walk, *(far + (n << 16) for n in range(20_000))]),
        "tuples.pkl": _keys(_same_hash(7000)),
        "floats.pkl": _keys(steep),
        "not_a_number.pkl": _keys([float("nan")]),
        "infinite.pkl": _keys([float("inf")]),
    }


def _dict(items):
    return b"\x80\x04}(" + items + b"u."


def _keys(keys):
    return _dict(b"".join(ff._code(key, False) + b"N" for key in keys))


def _packed(keys):
    """A map of MessagePack."""
    entries = b"".join(b"\xcf" + key.to_bytes(8, "big") + b"\xc0" for key in keys)
    return b"\xdf" + len(keys).to_bytes(4, "big") + entries


@cache
def _same_hash(count):
    """Pairs of numbers below 2^53 with the same hash: CPython's of tuples is xxHash without a secret."""
    first, second, start = (np.uint64(n) for n in (11400714785074694791, 14029467366897019727, 2870177450012600261))
    inverse, turn, rest = np.uint64(pow(int(second), -1, 1 << 64)), np.uint64(31), np.uint64(33)
    goal, found = np.uint64(1 << 40), []
    for begin in range(0, 4096 * count, 1 << 20):
        n = np.arange(begin, begin + (1 << 20), dtype=np.uint64)
        acc = start + n * second
        lanes = (goal - (acc << turn | acc >> rest) * first) * inverse
        fit = lanes < 1 << 53
        found += zip(n[fit].tolist(), lanes[fit].tolist(), strict=True)
    assert len({hash(pair) for pair in found[:100]}) == 1
    return found[:count]


def random_value(rng, names, depth=0):
    """Known names, called with anything and given any state."""

    def inner():
        return random_value(rng, names, depth + 1)

    kind = rng.random() if depth < 5 else 1
    if kind < 0.35:
        args = [inner() for _ in range(rng.choice((0, 1, 1, 2, 3, 4, 7)))]
        return ff.Called(rng.choice(names), *args, state=inner() if rng.random() < 0.4 else None)
    if kind < 0.65:
        return rng.choice((ff.Asked(rng.choice(names)), ff.tensor(NUMBERS), NUMBERS, ff.Stored("0", NUMBERS.ravel())))
    if kind < 0.8:
        items = [inner() for _ in range(rng.randrange(4))]
        keys = ("a", "class_name", "module_src", "state", 1, None, (1, 2))
        return rng.choice((tuple(items), items, dict(zip(keys, items, strict=False))))
    return rng.choice(
        (0, 1, -1, 2**100, "latin1", "<", "C", "f4", "O8", b"b", b"\0" * 16, True, None, 1.5, (), (2, 3), {1})
    )


def _nested():
    """Each legacy file loads another from its bytes, and each is read twice: 2^30 times in all."""
    data = ff.legacy_file(1)
    for _ in range(30):
        data = ff.legacy_file(ff.Called("torch.storage._load_from_bytes", data))
    return ff.pickled(ff.Called("torch.storage._load_from_bytes", data))
