"""Encoders with random weights: against torch, what `load` refuses, and how images go through."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from fewstep.evaluation.features import encoders

try:
    import torch
    from torch.nn import functional as f
except ImportError:  # test_equals_torch is skipped
    torch = None

RNG = np.random.default_rng(0)
IMAGES = np.kron(RNG.integers(0, 256, (3, 5, 8, 3)), np.ones((1, 8, 5, 1))).astype(np.uint8)  # (3, 40, 40, 3)


def kernel(*shape):
    """HWIO, of variance 2 / inputs."""
    return (RNG.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)


def near(middle, spread, count):
    return (middle + spread * RNG.uniform(-1, 1, count)).astype(np.float32)


# --- the architectures in torch: x (N, 3, H, W) in 0 to 255; weights are made, as files have them, where they are used


def oihw(kernel):
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))


def resized(x, size):
    return f.interpolate(x, (size, size), mode="bilinear", antialias=True)


def normed(arrays, names, x, eps):
    gamma, beta, mean, var = (near(*at, x.shape[1]) for at in ((1, 0.5), (0, 0.2), (0, 0.2), (1, 0.5)))
    arrays |= zip(names, (gamma, beta, mean, var), strict=True)
    return f.batch_norm(x, *map(torch.from_numpy, (mean, var, gamma, beta)), eps=eps)


def torch_mobilenet_v2(arrays, x):
    def conv(name, x, out, k=1, stride=1, depthwise=False):
        shape = (k, k, 1 if depthwise else x.shape[1], out)
        integers, bias = RNG.integers(-127, 128, shape).astype(np.int8), near(0, 0.2, out)
        scale = near(0.02, 0.005, out) / np.float32(np.prod(shape[:3]) ** 0.5)
        arrays.update({f"{name}/kernel_int8": integers, f"{name}/scale": scale, f"{name}/bias": bias})
        zeros = max((-(-x.shape[2] // stride) - 1) * stride + k - x.shape[2], 0)
        x = f.pad(x, 2 * [zeros // 2, zeros - zeros // 2])  # as TensorFlow's "SAME": the odd one behind
        return f.conv2d(x, oihw(integers * scale), torch.from_numpy(bias), stride, groups=out if depthwise else 1)

    x = f.relu6(conv("stem", resized(x, 128) / 127.5 - 1, 32, 3, 2))
    number = 0
    table = [1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]
    for t, c, n, s in table:  # the paper's table 2
        for i in range(n):
            number += 1
            h = f.relu6(conv(f"block{number}/expand", x, t * x.shape[1])) if t > 1 else x
            h = f.relu6(conv(f"block{number}/depthwise", h, h.shape[1], 3, 1 if i else s, depthwise=True))
            h = conv(f"block{number}/project", h, c)
            x = x + h if i else h
    x = f.relu6(conv("last", x, 1280)).mean((2, 3), keepdim=True)
    return x, conv("head", x, 1001)


def squeezenet_arrays():
    layers, width = {"conv1": (3, 3, 3, 64)}, 64
    for i, squeeze in zip(range(2, 10), (16, 16, 32, 32, 48, 48, 64, 64), strict=True):
        layers[f"fire{i}/squeeze1x1"] = (1, 1, width, squeeze)
        layers |= {f"fire{i}/expand{k}x{k}": (k, k, squeeze, 4 * squeeze) for k in (1, 3)}
        width = 8 * squeeze
    kernels = {f"{name}/kernel": kernel(*shape) for name, shape in layers.items()}
    return kernels | {f"{name}/bias": near(0, 0.1, shape[-1]) for name, shape in layers.items()}


def torch_squeezenet(arrays, x):
    def conv(name, x, **options):
        return f.relu(f.conv2d(x, oihw(arrays[f"{name}/kernel"]), torch.from_numpy(arrays[f"{name}/bias"]), **options))

    arrays |= squeezenet_arrays()
    x = resized(x, 128).flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    x = conv("conv1", x, stride=2)
    for i in range(2, 10):
        x = f.max_pool2d(x, 3, 2) if i in (2, 4, 6) else x
        x = conv(f"fire{i}/squeeze1x1", x)
        x = torch.cat([conv(f"fire{i}/expand1x1", x), conv(f"fire{i}/expand3x3", x, padding=1)], 1)
    return x.mean((2, 3)), None


def torch_resnet56(arrays, x):
    def layer(name, x, out, stride=1):
        weights = arrays[f"{name}/kernel"] = kernel(3, 3, x.shape[1], out)
        x = f.conv2d(x, oihw(weights), stride=stride, padding=1)
        return normed(arrays, [f"{name}/{n}" for n in ("gamma", "beta", "mean", "var")], x, 1e-5)

    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x = f.relu(layer("stem", (resized(x, 32) / 255 - mean) / std, 16))
    for i in range(27):
        name, out, stride = f"stage{i // 9 + 1}/block{i % 9}", 16 << i // 9, 2 if i in (9, 18) else 1
        h = layer(f"{name}/conv2", f.relu(layer(f"{name}/conv1", x, out, stride)), out)
        if stride == 2:
            zeros = torch.zeros_like(h[:, : out // 4])
            x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
        x = f.relu(x + h)
    x, arrays["head/kernel"], arrays["head/bias"] = x.mean((2, 3)), kernel(64, 10), near(0, 1, 10)
    return x, x @ torch.from_numpy(arrays["head/kernel"]) + torch.from_numpy(arrays["head/bias"])


# "|" is between branches of layers name:channels:kernel; a comma is a fork; "/" has stride 2 and, like "!", no padding.
STEM = "1a_3x3:32:3x3/ 2a_3x3:32:3x3! 2b_3x3:64:3x3 halve 3b_1x1:80:1x1 4a_3x3:192:3x3! halve"
SQUARES = """branch1x1:64:1x1 | branch5x5_1:48:1x1 branch5x5_2:64:5x5 |
    branch3x3dbl_1:64:1x1 branch3x3dbl_2:96:3x3 branch3x3dbl_3:96:3x3 | average branch_pool:{}:1x1"""
HALVES = """branch3x3:384:3x3/ | branch3x3dbl_1:64:1x1 branch3x3dbl_2:96:3x3 branch3x3dbl_3:96:3x3/ | halve"""
LINES = """branch1x1:192:1x1 | branch7x7_1:{0}:1x1 branch7x7_2:{0}:1x7 branch7x7_3:192:7x1 |
    branch7x7dbl_1:{0}:1x1 branch7x7dbl_2:{0}:7x1 branch7x7dbl_3:{0}:1x7 branch7x7dbl_4:{0}:7x1 branch7x7dbl_5:192:1x7 |
    average branch_pool:192:1x1"""
LAST_HALVES = """branch3x3_1:192:1x1 branch3x3_2:320:3x3/ |
    branch7x7x3_1:192:1x1 branch7x7x3_2:192:1x7 branch7x7x3_3:192:7x1 branch7x7x3_4:192:3x3/ | halve"""
FORKS = """branch1x1:320:1x1 | branch3x3_1:384:1x1 branch3x3_2a:384:1x3,branch3x3_2b:384:3x1 |
    branch3x3dbl_1:448:1x1 branch3x3dbl_2:384:3x3 branch3x3dbl_3a:384:1x3,branch3x3dbl_3b:384:3x1 |
    {} branch_pool:192:1x1"""
BLOCKS = [STEM, *map(SQUARES.format, (32, 64, 64)), HALVES, *map(LINES.format, (128, 160, 160, 192)), LAST_HALVES]
BLOCKS += map(FORKS.format, ("average", "maximum"))
NAMES = ["Conv2d_", *(f"Mixed_{name}." for name in ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"])]


POOLS = {
    "halve": lambda x: f.max_pool2d(x, 3, 2),
    "maximum": lambda x: f.max_pool2d(x, 3, 1, 1),
    "average": lambda x: f.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
}


def torch_inception(arrays, x):
    def layer(x, text):
        name, out, sides = text.split(":")
        k = [int(side) for side in sides.strip("/!").split("x")]
        weights = oihw(kernel(*k, x.shape[1], int(out)))
        arrays[f"{name}.conv.weight"] = weights.numpy()
        padding = [0, 0] if sides[-1] in "/!" else [side // 2 for side in k]
        x = f.conv2d(x, weights, stride=2 if sides[-1] == "/" else 1, padding=padding)
        names = [f"{name}.bn.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
        return f.relu(normed(arrays, names, x, 1e-3))

    def branch(x, prefix, words):
        for word in words.split():
            x = POOLS[word](x) if word in POOLS else torch.cat([layer(x, prefix + part) for part in word.split(",")], 1)
        return x

    x = (torch.from_numpy(tf1_loop(x.numpy(), 299)).float() - 128) / 128
    for name, block in zip(NAMES, BLOCKS, strict=True):
        x = torch.cat([branch(x, name, words) for words in block.split("|")], 1)
    arrays |= {"fc.bias": near(0, 1, 1008), "Conv2d_1a_3x3.bn.num_batches_tracked": np.array(0)}  # to be ignored
    return x.mean((2, 3)), None


def tf1_loop(x, size):
    """x (N, C, H, W): pixel i lies at i * in / out, between the pixel before and the one after, if there is one."""
    scale = [np.float32(side / size) for side in x.shape[2:]]
    out = np.empty((*x.shape[:2], size, size))
    for at in np.ndindex(size, size):
        (u, dy), (v, dx) = (divmod(float(np.float32(i) * s), 1) for i, s in zip(at, scale, strict=True))
        u, v, below, right = int(u), int(v), min(int(u) + 1, x.shape[2] - 1), min(int(v) + 1, x.shape[3] - 1)
        top = (1 - dx) * x[:, :, u, v] + dx * x[:, :, u, right]
        out[:, :, *at] = (1 - dy) * top + dy * ((1 - dx) * x[:, :, below, v] + dx * x[:, :, below, right])
    return out


def assert_close(got, want):
    assert (got.shape, got.dtype) == (want.shape, np.float64)
    assert np.ptp(want, axis=0).max() > 1e-2 * np.abs(want).max()  # images make a difference
    assert np.abs(got - want).max() < 5e-5 * np.abs(want).max()  # torch's mobilenet is 1.3e-5 from its own float64


@pytest.mark.parametrize("name", encoders.ARCHITECTURES)
def test_equals_torch(name, tmp_path):
    pytest.importorskip("torch")
    arrays, x = {}, IMAGES[:2].transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        features, logits = globals()[f"torch_{name}"](arrays, torch.from_numpy(x))
    path = tmp_path / "encoder.pth"
    if name == "inception":
        torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, path)
    encoder = replace(encoders.load(path if path.exists() else saved(tmp_path, arrays)), batch=2)
    assert (encoder.name, encoder.classes) == (name, 0 if logits is None else logits.shape[1])
    assert_close(encoder(IMAGES[:2]), features.flatten(1).numpy())
    if encoder.classes:
        assert_close(encoder.logits(IMAGES[:2]), logits.flatten(1).numpy())


@pytest.mark.parametrize("shape", [(8, 5), *(pytest.param(s, marks=pytest.mark.slow) for s in ((32, 32), (40, 613)))])
def test_tf1_bilinear_equals_a_loop(shape):
    x = RNG.integers(0, 256, (1, *shape, 3)).astype(np.float32)
    want = tf1_loop(x.transpose(0, 3, 1, 2), 299).transpose(0, 2, 3, 1)
    assert np.abs(np.asarray(encoders.inception.prepare(x, 299)) * 128 + 128 - want).max() < 1e-3


@pytest.fixture(scope="module")
def arrays():
    return squeezenet_arrays()


def saved(folder, arrays):
    np.savez(folder / "encoder.npz", **arrays)
    return folder / "encoder.npz"


@pytest.fixture(scope="module")
def encoder(arrays, tmp_path_factory):
    return replace(encoders.load(saved(tmp_path_factory.mktemp("weights"), arrays)), batch=2)


def test_images_do_not_depend_on_their_batch_and_compile_once(encoder):  # but for rounding, on CPUs without AVX-512
    encoders._apply.clear_cache()
    features = encoder(IMAGES)
    alone = np.concatenate([encoder(image[None]) for image in IMAGES])
    np.testing.assert_allclose(alone, features, rtol=1e-5, atol=1e-5 * np.abs(features).max())
    assert encoders._apply._cache_size() == 1


def test_grey_images_are_replicated(encoder):
    grey = IMAGES[:2, ..., :1]
    np.testing.assert_allclose(encoder(grey), encoder(np.repeat(grey, 3, axis=-1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "side"), [((28, 28), 128), ((64, 127), 128), ((128, 64), 224), ((512, 512), 224)])
def test_side_follows_the_images(encoder, shape, side):
    assert encoder.side(np.zeros((1, *shape, 3), np.uint8)) == side
    assert replace(encoder, size=96).side(np.zeros((1, *shape, 3), np.uint8)) == 96


def test_digest_names_weights_and_preprocessing(encoder, arrays, tmp_path, monkeypatch):
    assert encoders.load(saved(tmp_path, arrays | {"unused": np.zeros(3)})).digest == encoder.digest
    changed = arrays | {"fire5/squeeze1x1/bias": arrays["fire5/squeeze1x1/bias"] + 1}
    digests = {encoder.digest, encoders.load(saved(tmp_path, changed)).digest, replace(encoder, size=224).digest}
    monkeypatch.setattr(encoders, "PREPROCESSING", -1)
    assert len(digests | {encoder.digest}) == 4
    assert len(bytes.fromhex(encoder.digest)) == 32


def test_what_is_asked_in_vain_is_refused(encoder):
    for images in (IMAGES / 255, IMAGES[0], IMAGES[..., :2], IMAGES[:0]):
        with pytest.raises(ValueError, match="uint8 images"):
            encoder(images)
    with pytest.raises(ValueError, match="no classifier"):
        encoder.logits(IMAGES)


def test_references_are_verified_at_the_size_in_use(encoder, arrays, tmp_path):
    references = {"ref/images": IMAGES, "ref/feature_128": encoder(IMAGES), "ref/feature_96": np.ones((3, 512))}
    path = saved(tmp_path, arrays | references)
    assert encoders.errors(encoders.load(path), references)["ref/feature_128"] < 1e-5
    with pytest.raises(ValueError, match="ref/feature_96 is not reproduced"):
        encoders.load(path, size=96)


WRONG = np.ones((3, 512)), np.ones(3), np.full((3, 512), np.nan)
TORCHVISIONS = {"Conv2d_1a_3x3.conv.weight": np.zeros((32, 3, 3, 3)), "fc.bias": np.zeros(1000)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fire7/expand3x3/kernel": None}, "fire7/expand3x3/kernel is missing"),
        ({"fire7/expand3x3/bias": np.zeros(5)}, r"fire7/expand3x3/bias has shape \(5,\), squeezenet requires \(192,\)"),
        ({"conv1/kernel": None}, "not the weights of mobilenet_v2"),
        ({"conv1/kernel": None} | TORCHVISIONS, "not the weights of mobilenet_v2"),
        *(({"ref/feature_128": wrong}, "ref/feature_128 is not reproduced") for wrong in WRONG),
    ],
)
def test_wrong_arrays_are_refused(arrays, tmp_path, change, message):
    changed = arrays | {"ref/images": IMAGES} | change
    path = saved(tmp_path, {name: array for name, array in changed.items() if array is not None})
    with pytest.raises(ValueError, match=message) as error:
        encoders.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 0.5, 0.999, None])
def test_files_that_cannot_be_read_are_refused(arrays, tmp_path, kept):
    path = saved(tmp_path, arrays)
    path.unlink() if kept is None else os.truncate(path, int(kept * path.stat().st_size))
    with pytest.raises(ValueError, match="no such file" if kept is None else "damaged"):
        encoders.load(path)


def test_pth_files_damaged_or_without_torch_are_refused(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="damaged" if torch else "pip install"):
        encoders.load(tmp_path / "weights.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"pip install 'fewstep\[torch\]'"):
        encoders.load(tmp_path / "weights.pth")
