"""Public implementations run in float64 on an exact denoiser, with the noise that they draw on record.

Their sampling code is run as it is: diffusers' schedulers are stepped by hand, and of k-diffusion its one file of
samplers is loaded alone.  Both round to float32 on their way; here the module that is run sees libraries in which
float32 is float64 and normal noise comes from a Tape.
"""

import importlib.util
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

from fewstep.diffusion import oracles
from fewstep.samplers import tabulate

REASON = (
    "parity with torch libraries needs pip install -e '.[torch]' and pip install --no-deps k-diffusion==0.1.1.post1"
)
torch = pytest.importorskip("torch", reason=REASON)
diffusers = pytest.importorskip("diffusers", reason=REASON)

SHAPE = (16, 1)
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # Stable Diffusion's levels
EXACT = 1e-9  # the largest difference in float64


class Tape:
    """Normal noise as it is drawn: that drawn after network call i is that of row i of our table, before the first
    call that of the start.
    """

    def __init__(self, shape=SHAPE):
        self.random, self.shape, self.calls, self.rows = np.random.default_rng(7), shape, 0, {}

    def draw(self, *_, **__):
        assert self.calls - 1 not in self.rows, "a row has one noise"
        self.rows[self.calls - 1] = z = self.random.standard_normal(self.shape)
        return torch.from_numpy(z)


class Nested(Tape):
    """The noise of DPM++ SDE: that of a step's first call is a part of the whole step's, as the rows of our
    `dpmpp_sde` have it.  (Its authors take both from one Brownian motion in sigma.)
    """

    def __init__(self, table, shape=SHAPE):
        super().__init__(shape)
        self.table = table

    def draw(self, *_, **__):
        fresh, i = super().draw(), self.calls - 1
        part, rest = self.table.x[i] * self.table.noise[i - 1], self.table.noise[i]
        if i % 2 == 0 or rest == 0:
            return fresh
        return (part * torch.from_numpy(self.rows[i - 1]) + rest * fresh) / np.hypot(part, rest)


class _Library:
    """A library with some names replaced."""

    def __init__(self, library, **replaced):
        self.__dict__ |= {"_library": library, **replaced}

    def __getattr__(self, name):
        return getattr(self._library, name)


@contextmanager
def doubled(module, tape):
    """The module computes in float64 and draws from the tape."""
    libraries = {
        "torch": _Library(torch, float32=torch.float64, randn_like=tape.draw),
        "np": _Library(np, float32=np.float64),
        "randn_tensor": tape.draw,
    }
    usual = torch.get_default_dtype()
    with ExitStack() as stack:
        for name, library in libraries.items():
            if hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, library))
        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_dtype, usual)
        yield


def mixture(process):
    return oracles.mixture(process, np.array([-1.0, 0.8]), np.array([0.3, 0.4]), np.array([0.4, 0.6]))


def beginning(process, t):
    """States at t, of the size that they have there."""
    z = np.random.default_rng(3).standard_normal(SHAPE)
    return process.alpha(t) * 0.5 + process.sigma(t) * z


def run(table, den, x, noises):
    """The end of a table run in float64 from x with the given noise, row by row."""
    past = [np.zeros_like(x)] * table.history
    for i in range(table.nfe):
        pred = den(x, table.t[i])
        new = table.x[i] * x + table.x0[i] * pred.x0 + table.eps[i] * pred.eps
        x = new + sum(c * m for c, m in zip(table.past[i], past, strict=True))
        if table.noise[i]:
            x = x + table.noise[i] * noises[i]
        past = [table.keep[i, 0] * pred.x0 + table.keep[i, 1] * pred.eps, *past][: table.history]
    return x


class Scheduler:
    """A scheduler of diffusers, by name or as a class, with its timesteps set."""

    def __init__(self, name, steps, **config):
        cls = getattr(diffusers, f"{name}Scheduler") if isinstance(name, str) else name
        self.tape, self.module = Tape(), sys.modules[cls.__module__]
        with doubled(self.module, self.tape):
            self.scheduler = cls(**config)
            self.scheduler.set_timesteps(steps)

    def indices(self, process, end=0.0):
        """Our times, where its timesteps are indices of a Discrete process."""
        n = np.asarray(self.scheduler.timesteps, np.float64)
        return np.append((n + 1) / process.count, end)

    @property
    def levels(self):
        """Its sigmas, each once."""
        return np.array(list(dict.fromkeys(np.asarray(self.scheduler.sigmas, np.float64).tolist())))

    def run(self, table, answer, x, **options):
        """The end of its own loop from x; answer(x, t) is what the network says at the time of our row."""
        x, timesteps = torch.from_numpy(x), self.scheduler.timesteps
        assert len(timesteps) == table.nfe, f"{len(timesteps)} calls, ours are {table.nfe}"
        with doubled(self.module, self.tape):
            for i, t in enumerate(timesteps):
                if hasattr(self.scheduler, "scale_model_input"):
                    self.scheduler.scale_model_input(x, t)  # counts steps; the answer is to the state itself
                said = torch.from_numpy(answer(x.numpy(), table.t[i]))
                self.tape.calls += 1
                x = self.scheduler.step(said, t, x, **options).prev_sample
        return x.numpy()


def epsilon(den):
    """What a network says that predicts the noise."""
    return lambda x, t: den(x, t).eps


def difference(peer, sampler, process, times, output=epsilon, step=None, **options):
    """The largest difference between the ends of a scheduler and of our sampler on the same times."""
    table, den = tabulate(sampler(process, times, **options)), mixture(process)
    x = beginning(process, table.t[0])
    theirs = peer.run(table, output(den), x, **(step or {}))
    return np.abs(run(table, den, x, peer.tape.rows) - theirs).max()


def load_k_diffusion():
    """k-diffusion's one file of samplers, without what it imports for other uses."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None:
        pytest.skip(REASON, allow_module_level=True)
    path = Path(found.submodule_search_locations[0]) / "sampling.py"
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", path)
    module = importlib.util.module_from_spec(spec)
    package, utils, odes = (ModuleType(name) for name in ("k_diffusion", "k_diffusion.utils", "torchdiffeq"))
    package.utils, odes.odeint = utils, None
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]
    needs = {"k_diffusion": package, "k_diffusion.utils": utils, "torchdiffeq": odes}
    with mock.patch.dict(sys.modules, needs | {"torchsde": ModuleType("torchsde")}):
        spec.loader.exec_module(module)
    return module


def sampled(module, name, table, den, x, sigmas, tape, **options):
    """The end of a sampler of k-diffusion from x, which must call den at the times of our rows (den.process is VE)."""
    process = den.process

    def model(x, sigma):
        t = sigma[0].item() / process.sigma_max
        assert abs(t - table.t[tape.calls]) < 1e-14, "called at another level"
        tape.calls += 1
        return torch.from_numpy(den(x.numpy(), t).x0)

    with doubled(module, tape):
        sampler = getattr(module, f"sample_{name}")
        end = sampler(model, torch.from_numpy(x), torch.from_numpy(sigmas), disable=True, **options)
    assert tape.calls == table.nfe
    return end.numpy()
