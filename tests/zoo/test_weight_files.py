"""The reader of foreign weight files: what is in them comes out, as views of the file."""

import json
import mmap
import pickle
import weakref
from pathlib import Path

import flax.serialization
import foreign_files as ff
import ml_dtypes
import numpy as np
import pytest
from refused import message

from fewstep.errors import UsageError
from fewstep.train.utils.errors import Damaged
from fewstep.zoo.files import Namespace, Persistent, flat, read, safetensors, weight_sets

STATE = ff.state_dict()
ONE = np.ones(1)
TENSORS = {name: ff.tensor(array, str(i)) for i, (name, array) in enumerate(STATE.items())}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, name, strict=True)


@pytest.fixture
def file(tmp_path):
    """file(bytes, name) -> its path."""

    def write(data, name="weights"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


FORMS = {
    "zip": ff.zip_file(TENSORS),
    "legacy": ff.legacy_file(TENSORS),
    "numpy": pickle.dumps(STATE, 4),
    "numpy 5": pickle.dumps(STATE, 5),
    "numpy 2": pickle.dumps(STATE, 2),
    "flax": flax.serialization.msgpack_serialize(STATE),
    "safetensors": b"".join(safetensors.encode(STATE)),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_every_type(file, form):
    """Whatever the name of the file says: the content tells."""
    found = read(file(FORMS[form]))
    same({name: found[name] for name in STATE}, STATE)
    assert weight_sets(found).keys() == {""}


@pytest.mark.parametrize("form", ["zip", "legacy", "numpy", "numpy 5", "flax", "safetensors"])
def test_arrays_are_views_of_the_file(file, form):
    array = read(file(FORMS[form]))["float64"]
    assert not array.flags.writeable
    while isinstance(array, np.ndarray):
        array = array.base
    assert isinstance(array, mmap.mmap)


def test_the_values_beside_the_arrays(file):
    value = {
        "model": {"weight": ff.tensor(STATE["float32"])},
        "args": ff.Called("argparse.Namespace", state={"lr": 1e-4, "to": ff.Called("pathlib.PosixPath", "/", "data")}),
        "shape": ff.Called("torch.Size", [2, 3]),
        "device": ff.Called("torch.device", "cuda", 0),
        "dtype": ff.Asked("torch.float16"),
        "plain": [1, 2.5, True, None, "text", b"bytes", (1, -(2**40))],
        "names": {"a", "b"},
    }
    found = read(file(ff.zip_file(value)))
    assert found.pop("model").keys() == {"weight"}
    assert found == {
        "args": Namespace({"lr": 1e-4, "to": "/data"}), "shape": (2, 3), "device": "cuda:0",
        "dtype": "torch.float16", "plain": value["plain"], "names": {"a", "b"},
    }  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_of_python_itself(file, protocol):
    value = {
        "nested": [{"a": (1, 2, 3, 4)}, []], "large": 2**60, "float": 0.1, "text": "é", "bytes": b"\xff\x00",
        "set": {1, 2}, "frozen": frozenset({3}), "complex": 1 + 2j, "long": "x" * 1000,
        "numbers": np.arange(6.0).reshape(2, 3).T, "number": np.float32(0.5), "big": np.arange(3, dtype=">i4"),
    }  # fmt: skip
    found = read(file(pickle.dumps(value, protocol), "value.pkl"))
    for name in ("numbers", "number", "big"):
        np.testing.assert_array_equal(found.pop(name), value.pop(name), strict=True)
    assert found == value


@pytest.mark.parametrize("protocol", [0, 1])
def test_old_pickles_by_their_names(file, protocol):
    value = {"a": [1, 2.5, "text", True, None, 10**30], "b": (1, 2)}
    assert read(file(pickle.dumps(value, protocol), "value.pkl")) == value


def test_what_is_named_twice_is_one_object(file):
    array = np.arange(3.0)
    found = read(file(pickle.dumps({"a": array, "b": array}), "value.pkl"))
    assert found["a"] is found["b"]


def test_arrays_of_jax_in_a_pickle(file):
    import jax.numpy as jnp

    tree = {"params": {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(2, jnp.bfloat16)}}}
    found = weight_sets(read(file(pickle.dumps(tree))))["params"]
    assert found["dense.bias"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found["dense.kernel"], [[0, 1, 2], [3, 4, 5]])


def test_tensors_that_share_a_storage(file):
    storage = np.arange(12, dtype=np.float32)
    value = {
        "all": ff.tensor(storage), "row": ff.tensor(storage, storage=storage, offset=4, shape=(4,), strides=(1,)),
        "column": ff.tensor(storage, storage=storage, offset=1, shape=(3,), strides=(4,)),
    }  # fmt: skip
    for data in (ff.zip_file(value), ff.legacy_file(value)):
        found = read(file(data))
        assert found["row"].tolist() == [4, 5, 6, 7]
        assert found["column"].tolist() == [1, 5, 9]


def test_a_legacy_storage_that_is_part_of_another(file):
    value = ff.tensor(np.arange(6.0), view=("1", 2, 3), shape=(3,))
    assert read(file(ff.legacy_file(value))).tolist() == [2, 3, 4]


def test_edm_pickles_are_records(file):
    weight = STATE["float32"]
    inner = ff.edm_module("UNetBlock", {"weight": ff.edm_tensor(weight), "bias": None})
    model = ff.edm_module("SongUNet", {}, {"enc": inner}, img_resolution=32, channel_mult=[1, 2])
    net = ff.edm_module("EDMPrecond", {}, {"model": model}, sigma_data=0.5)
    path = file(ff.pickled({"ema": net, "loss_fn": ff.edm_module("EDMLoss", {}), "augment_pipe": None}), "edm.pkl")
    found = read(path)
    assert isinstance(found["ema"], Persistent)
    assert (found["ema"].class_name, found["ema"].init_kwargs) == ("EDMPrecond", {"sigma_data": 0.5})
    assert found["ema"].source == "raise SystemExit"
    same(weight_sets(found)["ema"], {"model.enc.weight": weight})
    assert weight_sets(found).keys() == {"ema"}


def test_modules_of_torch_are_records_too(file):
    module = ff.Called("torch.nn.modules.linear.Linear", state={"_parameters": {"weight": ff.tensor(STATE["float32"])}})
    found = read(file(ff.zip_file(module)))
    assert found.class_name == "torch.nn.modules.linear.Linear"
    same(weight_sets(found)[""], {"weight": STATE["float32"]})


def test_flax_arrays_in_parts(file, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 64)
    tree = {"params": {"kernel": np.arange(60, dtype=np.float32).reshape(3, 20)}, "step": 7, "z": 1 + 2j}
    found = read(file(flax.serialization.msgpack_serialize(tree)))
    np.testing.assert_array_equal(found["params"]["kernel"], tree["params"]["kernel"])
    assert (found["step"], found["z"]) == (7, 1 + 2j)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"a.weight": ONE}, {""}),
        ({"model": {"w": ONE}, "ema": {"w": ONE}, "opt": {"state": {0: {"m": ONE}}}}, {"model", "ema"}),
        ({"state_dict": {"w": ONE, "version": "2"}, "epoch": 3}, {"state_dict"}),
        ({"params": {"net": {"kernel": ONE}, "head": {"kernel": ONE}}}, {"params"}),
        ({"state": {"params": {"w": ONE}, "params_ema": {"w": ONE}}}, {"state.params", "state.params_ema"}),
        ({"Dense_0": {"kernel": ONE}, "Conv_0": {"kernel": ONE}, "step": 3}, {""}),
        ({"args": Namespace({}), "epoch": 3}, set()),
        ([1, 2], set()),
    ],
)  # fmt: skip
def test_sets_of_weights(value, names):
    assert weight_sets(value).keys() == names


def test_flat_names():
    tree = {"a": {"b": np.ones(1), "c": [np.zeros(1), 3]}, "d": "text"}
    assert list(flat(tree)) == ["a.b", "a.c.0"]
    assert list(flat(tree, "/")) == ["a/b", "a/c/0"]
    assert "two arrays are called 'a.b'" in message(
        lambda: flat({"a": {"b": np.ones(1)}, "a.b": np.ones(1)}), UsageError
    )


def test_shards(file):
    shards = {f"{i}.safetensors": {name: array} for i, (name, array) in enumerate(STATE.items())}
    for name, arrays in shards.items():
        safetensors.write(file(b"", name), arrays)
    index = {name: shard for shard, arrays in shards.items() for name in arrays}
    path = file(json.dumps({"metadata": {}, "weight_map": index}).encode(), "model.safetensors.index.json")
    same(read(path), STATE)
    Path(path.parent, "1.safetensors").unlink()
    assert "'1.safetensors', which is not there" in message(lambda: read(path), Damaged)
    safetensors.write(path.parent / "1.safetensors", {"other": np.ones(1)})
    assert "lacks 'float16'" in message(lambda: read(path), Damaged)


def test_safetensors_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "weights.safetensors"
    safetensors.write(path, STATE, {"format": "pt"})
    same({name: safetensors.read(path)[name] for name in STATE}, STATE)
    assert safetensors.metadata(path) == {"format": "pt"}
    before = path.read_bytes()
    assert "'x' of type <U1" in message(lambda: safetensors.write(path, {"x": np.array(["a"])}), UsageError)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


class Lazy:
    """An array that is made when it is asked for."""

    dtype, shape, alive, most = np.dtype("float32"), (1000,), weakref.WeakSet(), 0

    def __array__(self, dtype=None, copy=None):
        array = np.ones(self.shape, self.dtype).view(Held)
        self.alive.add(array)
        Lazy.most = max(Lazy.most, len(self.alive))
        return array


class Held(np.ndarray):
    """What weak references can be made to."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_arrays_are_written_one_at_a_time(tmp_path):
    safetensors.write(tmp_path / "weights.safetensors", {str(i): Lazy() for i in range(5)})
    assert Lazy.most == 1
    assert len(read(tmp_path / "weights.safetensors")) == 5


def test_safetensors_of_jax_and_of_another_byte_order(tmp_path):
    import jax.numpy as jnp

    path = tmp_path / "weights.safetensors"
    safetensors.write(path, {"jax": jnp.arange(3, dtype=jnp.bfloat16), "big": np.arange(3, dtype=">f4")})
    same(safetensors.read(path), {"jax": np.arange(3).astype(ml_dtypes.bfloat16), "big": np.arange(3, dtype="<f4")})


def test_the_library_opens_what_we_write(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {name: array for name, array in STATE.items() if name != "bfloat16"}
    safetensors.write(tmp_path / "ours.safetensors", arrays)
    found = library.load_file(tmp_path / "ours.safetensors")
    same({name: found[name] for name in arrays}, arrays)
    library.save_file({name: array.copy("C") for name, array in arrays.items()}, tmp_path / "theirs.safetensors")
    found = read(tmp_path / "theirs.safetensors")
    same({name: found[name] for name in arrays}, arrays)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_agrees(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    base = torch.randn(5, 6)
    value = {
        "model": layer.state_dict(), "t": base.T, "part": base[1:3, ::2], "half": base.half(), "bf16": base.bfloat16(),
        "ints": torch.arange(4), "mask": base > 0, "parameter": torch.nn.Parameter(base), "one": torch.tensor(3.0),
        "none": torch.zeros(0, 3), "shape": base.shape,
    }  # fmt: skip
    if zipped:  # torch itself does not read these from the legacy form
        value["float8"] = base.to(torch.float8_e4m3fn)
    torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found, expected = flat(read(tmp_path / "a.pt")), torch.load(tmp_path / "a.pt", weights_only=True)
    expected = {**{f"model.{k}": v for k, v in expected.pop("model").items()}, **expected}
    assert expected.pop("shape") == (5, 6)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert str(tensor.dtype) == f"torch.{found[name].dtype}"
        np.testing.assert_array_equal(
            found[name].astype(np.float32), tensor.detach().float().numpy(), name, strict=True
        )


def test_many_numbers_as_keys(file):
    """As in the state of an optimizer."""
    value = {i: None for i in range(5000)} | {(i, "name"): i / 8 for i in range(500)} | {0.5: {1, 2}}
    assert read(file(pickle.dumps(value, 4), "a.pkl")) == value


def test_long_bytes_of_python_2(file):
    data = bytes(range(256))
    assert read(file(b"\x80\x02T\0\1\0\0" + data + b".")) == data
