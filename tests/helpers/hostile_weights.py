"""Weight files that would run something, fill the memory or never end where they are believed."""

import io
import json
import pickle
import struct
import zipfile
import zlib

import foreign_files as ff
import numpy as np
from hostile_pickles import NUMBERS, calls, colliding, machines


def whole() -> dict[str, bytes]:
    """A good file of each form, by its suffix."""
    import flax.serialization

    from fewstep.zoo.files import safetensors

    tensors = {"w": ff.tensor(NUMBERS), "b": ff.tensor(NUMBERS[0], "1")}
    net = ff.edm_module("Net", {"weight": ff.edm_tensor(NUMBERS)}, sigma_data=0.5)
    return {
        "pt": ff.zip_file({"model": tensors, "step": 3}),
        "legacy.pt": ff.legacy_file({"model": tensors, "step": 3}),
        "pkl": ff.pickled({"ema": net}),
        "numpy.pkl": pickle.dumps({"w": NUMBERS, "rest": [1, 2.5, "text"]}, 5),
        "msgpack": flax.serialization.msgpack_serialize({"params": {"w": NUMBERS}, "step": 3}),
        "safetensors": b"".join(safetensors.encode({"w": NUMBERS, "b": NUMBERS[0]}, {"format": "pt"})),
    }


def files(canary: str) -> dict[str, bytes]:
    """The files by name; those that run anything make the file `canary`."""
    return calls(canary) | machines() | colliding() | tensors() | archives() | headers() | packed() | others()


def tensors():
    """Views that leave their storage, or are larger than it."""
    views = {
        "outside": {"offset": 1},
        "far_outside": {"offset": 2**62},
        "negative_offset": {"offset": -4},
        "stride_outside": {"strides": (4, 2)},
        "negative_stride": {"strides": (-4, -1), "offset": 11},
        "huge_stride": {"strides": (2**63, 1)},
        "negative_size": {"shape": (-3, -4)},
        "absurd_shape": {"shape": (2**40, 2**40), "strides": (0, 0)},
        "overflow": {"shape": (2**32, 2**32), "strides": (0, 0)},
        "huge_number": {"shape": (10**60, 1)},
        "terabytes": {"shape": (2**40,), "strides": (0,)},
        "larger_than_storage": {"shape": (13,), "strides": (0,)},
        "dimensions": {"shape": (1,) * 1000, "strides": (1,) * 1000},
        "fewer_strides": {"strides": (1,)},
        "shape_of_texts": {"shape": ("3", "4")},
        "empty_but_absurd": {"shape": (0, 2**60), "strides": (1, 1)},
        "offset_is_a_text": {"offset": "0"},
    }
    found = {}
    for name, changes in views.items():
        found[f"{name}.pt"] = ff.zip_file({"w": ff.tensor(NUMBERS, **changes)})
        found[f"{name}.legacy.pt"] = ff.legacy_file({"w": ff.tensor(NUMBERS, **changes)})
    kind = ff.Called("numpy.dtype", "f4", False, True)
    array = ff.Called("numpy.core.multiarray._reconstruct", ff.Asked("numpy.ndarray"), (0,), b"b")
    states = {
        "numpy_shape": (1, (2**40,), kind, False, b"\0" * 16),
        "numpy_negative": (1, (-4,), kind, False, b"\0" * 16),
        "numpy_objects": (1, (2,), kind, False, [1, 2]),
        "numpy_no_state": 3,
        "numpy_empty": (1, (0, 2**50), kind, False, b""),
        "numpy_zero_width": (1, (2**40,), ff.Called("numpy.dtype", "S0", False, True), False, b""),
    }
    for name, state in states.items():
        array.state = state
        found[f"{name}.pkl"] = ff.pickled(array)
    return found | {
        "view_outside.legacy.pt": ff.legacy_file(ff.tensor(NUMBERS, view=("1", 10, 10))),
        "quantized.pt": ff.zip_file(ff.Called("torch._utils._rebuild_qtensor", 1)),
    }


def archives():
    """Zip archives that torch.save does not write."""
    value = {"w": ff.tensor(NUMBERS)}
    good = ff.zip_file(value)
    nested = ff.zip_file(value, **{"data.pkl": good})
    npz = io.BytesIO()
    np.savez(npz, a=NUMBERS)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}", b"")
    return {
        "bomb.pt": ff.zip_file(value, compression=zipfile.ZIP_DEFLATED, **{"data.pkl": b"\0" * (64 << 20)}),
        "bzip2.pt": ff.zip_file(value, compression=zipfile.ZIP_BZIP2),
        "nested.pt": nested,
        "only_nested.pt": _zip({"a.pt": good}),
        "arrays.npz": npz.getvalue(),
        "many.pt": many.getvalue(),
        "no_end.pt": good[:-22],
        "no_storage.pt": ff.zip_file(value).replace(b"archive/data/0", b"archive/data/7"),
        "short_storage.pt": ff.zip_file(value, **{"data/0": b"\0" * 8}),
        "two_pickles.pt": _zip({"a/data.pkl": ff.pickled(1), "b/data.pkl": ff.pickled(1)}),
        "twice.pt": _zip({"a/data.pkl": ff.pickled(1), "a/data.pkk": ff.pickled(1)}).replace(b".pkk", b".pkl"),
        "big_endian.pt": ff.zip_file(value, byteorder=b"big"),
        "overlapping.pt": _overlapping(200),
        "key_is_a_path.pt": ff.zip_file(ff.tensor(NUMBERS, "../../../etc/passwd")).replace(b"data/../", b"data/xx/"),
        "claims_4gb.pt": good.replace(struct.pack("<II", 48, 48), struct.pack("<II", 2**32 - 2, 2**32 - 2)),
        "far_directory.pt": good[:-6] + struct.pack("<I", 2**31) + b"\0\0",
        "empty.zip": b"PK\5\6" + b"\0" * 18,
        "only_pk.pt": b"PK\3\4" * 100,
    }


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _overlapping(count):
    """Members that are all the same bytes of the file."""
    data, name = b"\0" * (1 << 16), b"a/data.pkl"
    local = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), 0) + name
    )
    entries = b""
    for i in range(count):
        other = name if i == 0 else f"a/data/{i:03}".encode()
        fields = (20, 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(other), 0, 0, 0, 0, 0, 0)
        entries += struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + other
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(local) + len(data), 0)
    return local + data + entries + end


def headers():
    """safetensors whose header is not true."""
    data = NUMBERS.tobytes()
    entries = {
        "gap": {"a": [0, 16], "b": [20, 36]},
        "overlap": {"a": [0, 32], "b": [16, 48]},
        "beyond": {"a": [0, 64]},
        "backwards": {"a": [48, 0]},
        "negative": {"a": [-16, 32]},
        "huge_offset": {"a": [0, 10**30]},
        "rest": {"a": [0, 16]},
    }
    found = {}
    for name, offsets in entries.items():
        said = {
            key: {"dtype": "F32", "shape": [abs(b - a) // 4], "data_offsets": [a, b]} for key, (a, b) in offsets.items()
        }
        found[f"{name}.safetensors"] = ff.safetensors_file(json.dumps(said).encode(), data)
    one = '{"dtype":"F32","shape":[12],"data_offsets":[0,48]}'
    texts = {
        "same_name": f'{{"a":{one},"a":{one}}}',
        "absurd": f'{{"a":{one}}}'.replace("[12]", f"[{2**40},{2**40},0]"),
        "negative_shape": f'{{"a":{one}}}'.replace("[12]", "[-3,-4]"),
        "float_shape": f'{{"a":{one}}}'.replace("[12]", "[12.0]"),
        "infinite_shape": f'{{"a":{one}}}'.replace("[12]", "[Infinity]"),
        "wrong_size": f'{{"a":{one}}}'.replace("[12]", "[11]"),
        "type": f'{{"a":{one}}}'.replace("F32", "F4"),
        "type_is_code": f'{{"a":{one}}}'.replace('"F32"', '["os.system"]'),
        "no_offsets": '{"a":{"dtype":"F32","shape":[12]}}',
        "metadata": f'{{"__metadata__":{{"a":3}},"b":{one}}}',
        "list": "[]" + " " * 10,
        "brackets": '{"a":' + "[" * 100_000,
        "digits": '{"a":' + "9" * 100_000 + "}",
        "million_dicts": '{"a":[' + "{}," * 1_000_000 + "{}]}",
        "no_json": "{a: 1}",
    }
    found |= {f"{name}.safetensors": ff.safetensors_file(text.encode(), data) for name, text in texts.items()}
    return found | {
        "header_4gb.safetensors": ff.safetensors_file(b"{}", data, 4 << 30),
        "header_4gb": ff.safetensors_file(b"{" + b" " * 60, data, 4 << 30),
        "header_2_63.safetensors": ff.safetensors_file(b"{}", data, (1 << 63) + 5),
        "header_beyond.safetensors": ff.safetensors_file(b"{}", data, 1000),
        "no_text.safetensors": ff.safetensors_file(b'{"\xff\xfe":1}', data),
        "short.safetensors": b"\5\0\0",
        "up.index.json": b'{"weight_map":{"a":"../x.safetensors"}}',
        "root.index.json": b'{"weight_map":{"a":"/etc/passwd"}}',
        "itself.index.json": b'{"weight_map":{"a":"itself.index.json"}}',
        "absent.index.json": b'{"weight_map":{"a":"none.safetensors"}}',
        "no_map.index.json": b'{"weight_map":[1]}',
        "brackets.index.json": b"[" * 100_000,
        "shards.index.json": json.dumps({"weight_map": {str(i): f"{i}.pt" for i in range(10_000)}}).encode(),
    }


def packed():
    """MessagePack that lies."""

    def array(shape, name, data):
        inner = b"\x93" + shape + bytes([0xA0 | len(name)]) + name + b"\xc4" + bytes([len(data)]) + data
        return b"\x81\xa1w" + b"\xc7" + bytes([len(inner)]) + b"\x01" + inner

    return {
        "list_of_4g.msgpack": b"\x81\xa1a\xdd\xff\xff\xff\xff",
        "lists_of_4g.msgpack": b"\x81\xa1a" + b"\xdd\xff\xff\xff\xff" * 90,
        "map_of_4g.msgpack": b"\xdf\xff\xff\xff\xff\xa1a",
        "deep.msgpack": b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0",
        "many_maps.msgpack": b"\x81\xa1a\xdd\x00\x20\x00\x00" + b"\x80" * (2 << 20),
        "code.msgpack": b"\x81\xa1a\xd4\x05a",
        "shape.msgpack": array(b"\x92\xcf" + b"\x7f" * 8 + b"\x03", b"float32", b"\0" * 12),
        "negative.msgpack": array(b"\x91\xff", b"float32", b"\0" * 12),
        "object.msgpack": array(b"\x91\x01", b"O", b"\0" * 8),
        "no_array.msgpack": b"\x81\xa1a\xd4\x01\xc0",
        "twice.msgpack": b"\x82\xa1a\x01\xa1a\x02",
        "key.msgpack": b"\x81\x91\x01\x02",
        "unused.msgpack": b"\x81\xa1a\xc1",
        "parts.msgpack": b"\x83\xb9__msgpack_chunked_array__\xc3\xa5shape\x81\xa10\xce\x7f\xff\xff\xff\xa6chunks\x80",
        "more.msgpack": b"\x81\xa1a\x01\x01",
    }


def others():
    """What is no file of weights at all."""
    return {
        "empty.pt": b"",
        "empty.safetensors": b"",
        "text.txt": b"these are no weights\n",
        "text.safetensors": b"these are no weights\n",
        "text.pkl": b"these are no weights\n",
        "page.pt": b"<!DOCTYPE html><html>",
        "weights.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
        "weights.pt.gz": b"\x1f\x8b\x08\0" + b"\0" * 20,
        "zeros.pt": b"\0" * 10_000,
        "ones.pt": b"\xff" * 10_000,
        "one_byte.pt": b"\x80",
        "lfs.pt": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        "lfs.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
    }
