"""How closely the encoders reproduce the activations in their files, and what they find on CIFAR-10.

    .venv/bin/python benchmarks/encoders.py --data FOLDER

FOLDER has mobilenet_v2_imagenet.npz, squeezenet_v1_1_imagenet.npz, resnet56_cifar10.npz, cifar10/test.npz and
its reader unpack.py.  Errors are max |difference| / max |reference|.  ResNet-56's published accuracy is 93.39 %.
"""

from fewstep.cli.cpu import tune

tune()

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from scipy.linalg import sqrtm

from fewstep.evaluation.distances.frechet import frechet
from fewstep.evaluation.features.encoders import convolve, errors, load, mobilenet_v2, read_arrays

FILES = ("mobilenet_v2_imagenet.npz", "squeezenet_v1_1_imagenet.npz", "resnet56_cifar10.npz")


def main():
    """Print the errors of the references, then a line or two an encoder about the test images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    spec = importlib.util.spec_from_file_location("unpack", folder / "unpack.py")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)

    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    encoders = {file: load(folder / file) for file in FILES}
    for file, encoder in encoders.items():
        references(encoder, read_arrays(folder / file))
    images, labels = unpack.load_cifar10(folder, "test")
    classifier(encoders[FILES[-1]], read_arrays(folder / FILES[-1]), images, labels)
    for encoder in encoders.values():
        floor(encoder, images[:2500], images[2500:5000])


def references(encoder, arrays):
    """Errors of all references, at every size they are for."""
    print(encoder.name, encoder.digest)
    for size in (32,) if encoder.name == "resnet56" else (128, 224):
        for name, value in errors(replace(encoder, size=size, batch=16), arrays).items():
            print(f"    {name:24} {value:.1e}")
    if encoder.name == "mobilenet_v2":
        got = layer_means(encoder, arrays["ref/images"][:1])
        print(f"    {'ref/layer_means_224':24} {relative(got, arrays['ref/layer_means_224']):.1e}")


def layer_means(encoder, images):
    """Mean outputs of MobileNetV2's stem, block1 ... block17 and last at 224: of what enters the layer after each."""
    means = {}

    def conv(layer, x, *args, **options):
        means[layer] = float(x.mean())
        return convolve(encoder.params, layer, x, *args, **options)

    mobilenet_v2.network(conv, mobilenet_v2.prepare(images.astype(np.float32), 224))
    return [means[layer] for layer in ("block1/depthwise", *(f"block{i}/expand" for i in range(2, 18)), "last", "head")]


def classifier(encoder, arrays, images, labels):
    """Accuracy and moments of the features on all test images."""
    features, logits = encoder(images), encoder.logits(images)
    print(f"resnet56 on {len(images)} test images: accuracy {100 * (logits.argmax(1) == labels).mean():.2f} %")
    print(f"    ref/test_feature_mean    {relative(features.mean(0), arrays['ref/test_feature_mean']):.1e}")
    print(f"    ref/test_feature_cov     {relative(np.cov(features.T), arrays['ref/test_feature_cov']):.1e}")


def floor(encoder, *images):
    """The Frechet distance between two sets of test images, in two ways."""
    a, b = map(encoder, images)
    ours = frechet(a, b)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    theirs = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    print(
        f"FD-{encoder.name} of {' against '.join(str(len(x)) for x in images)} test images: {ours:.6g}, "
        f"with scipy's sqrtm {theirs:.6g}, relative difference {abs(ours / theirs - 1):.1e}"
    )


def relative(got, want):
    return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


if __name__ == "__main__":
    main()
