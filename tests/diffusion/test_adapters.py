"""Functions of other codes as denoisers: what they are given, what they must return, and what is refused."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refused import message

from fewstep.diffusion import EPS, VE, VP, Cond, Linear, edm
from fewstep.diffusion.adapters import as_denoiser
from fewstep.errors import UsageError

X = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
ASK = jax.jit(lambda den, x: den(x, 0.5).x0)


@pytest.mark.parametrize("framework", ["jax", "numpy"])
@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x, t: x[:, :1], r"\(\d, 1\)"),
        (lambda x, t: x[:, [0, 1, 0, 1, 0]], r"\(\d, 5\)"),
        (lambda x, t: x.mean(axis=0, keepdims=True), r"\(1, 2\)"),
        (lambda x, t: (x, x), "a tuple"),
        (lambda x, t: 0.0, "a float"),
        (lambda x, t: None, "a NoneType"),
    ],
)
def test_an_output_of_another_shape_is_refused(framework, function, found):
    """It would be broadcast, or end deep in JAX."""
    den = as_denoiser(function, VP(), framework=framework)
    with pytest.raises(UsageError, match=rf"the network returned {found} for x \(\d, 2\)"):
        ASK(den, X)


def test_an_error_on_the_host_is_the_function_s_own():
    def broken(x, t):
        return {}["weights"]

    with pytest.raises(KeyError, match="weights"):
        ASK(as_denoiser(broken, VP(), framework="numpy"), X)


@pytest.mark.parametrize("framework", ["jax", "numpy"])
def test_without_labels_the_null_class_is_given(framework):
    """The function sees integers in any case."""
    den = as_denoiser(lambda x, t, label: 0 * x + label[:, None], VP(), classes=4, framework=framework)
    assert (ASK(den, X) == 4).all()
    assert (den(X, 0.5, None, Cond(np.full(3, 2, np.int32))).x0 == 2).all()


@dataclass
class Scaled:
    """Without a hash, because it has an __eq__."""

    factor: float

    def __call__(self, x, t):
        return self.factor * x


@pytest.mark.parametrize("framework", ["jax", "numpy"])
def test_objects_without_a_hash_are_functions(framework):
    for factor in (0.5, 0.25):
        den = as_denoiser(Scaled(factor), VP(), framework=framework)
        np.testing.assert_allclose(ASK(den, X), factor * X, rtol=1e-6)


def positional(x, /, t):
    return x


@pytest.mark.parametrize(
    ("function", "process", "options", "part"),
    [
        (lambda x, t: x, VP, {}, r"not a process: write VP\(\)"),
        (lambda x, t: x, None, {}, "None is not a process"),
        (lambda x, t: x, VP(), {"prediction": "eps"}, "'eps' is not a prediction: one of X0, EPS"),
        (lambda x, t: x, VP(), {"prediction": edm}, r"not a prediction: write edm\(\)"),
        (3, VP(), {}, r"a function, such as f\(x, t\): got 3"),
        (positional, VP(), {}, "'x' before /: arguments are passed by name"),
        (lambda *args, **options: args[0], VP(), {}, "no argument 'x'"),
        (lambda t: t, VP(), {}, "no argument 'x'"),
        (np.dtype, VP(), {}, "does not tell the names|an argument"),
        (lambda params, x: x, VP(), {}, "pass its parameters, params=weights"),
        (lambda x, t: x, VP(), {"params": {"w": 1.0}}, r"takes x, t, but no params"),
        (lambda x, sigma: x, Linear(), {}, r"infinite: take t .* as_denoiser\(f, fewstep.VE\(\)\).under\(Linear\(\)\)"),
        (lambda x, sigma: x, VE(), {"prediction": edm(0.5)}, "take t"),
    ],
)
def test_what_cannot_be_a_denoiser_is_refused(function, process, options, part):
    with pytest.raises(UsageError, match=part):
        as_denoiser(function, process, **options)
    assert message(lambda: as_denoiser(function, process, **options), UsageError)


def test_the_way_out_for_sigma_on_the_linear_path():
    """What the message proposes gives finite images from the first time."""
    den = as_denoiser(lambda x, sigma: x / (1 + sigma[:, None] ** 2), VE()).under(Linear())
    assert np.isfinite(den(X, np.float32(1.0)).x0).all()


def test_parameters_are_leaves():
    den = as_denoiser(lambda params, x: params["w"] * x, VP(), EPS, params={"w": jnp.float32(0.5)})
    assert jax.tree.leaves(den) == [jnp.float32(0.5)]
    np.testing.assert_allclose(den(X, 0.5).eps, 0.5 * X, rtol=1e-5)


def test_torch_gets_its_tensors_where_its_module_is():
    torch = pytest.importorskip("torch")

    class Scaling(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((2,), 0.5))

        def forward(self, x, t, label):
            assert x.device == t.device == label.device == self.weight.device
            return self.weight * x

    module = Scaling().to("cuda" if torch.cuda.is_available() else "cpu")
    den = as_denoiser(module, VP(), framework="torch", classes=2)
    np.testing.assert_allclose(ASK(den, X), 0.5 * X, rtol=1e-6)
    wrong = as_denoiser(lambda x, t: (x, t), VP(), framework="torch")
    with pytest.raises(UsageError, match="returned a tuple"):
        ASK(wrong, X)
