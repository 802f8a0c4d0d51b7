"""The optimizers once more, in NumPy and float64, one array at a time: {name: array} after some steps."""

import numpy as np

CLIP, BETA1, BETA2 = 1.0, 0.9, 0.99


def rate(step, steps, lr, warmup):
    """Of step 1, 2, ...: a line from 0, then half a cosine to 0."""
    if step < warmup:
        return lr * step / warmup
    return lr * (1 + np.cos(np.pi * (step - warmup) / (steps + 1 - warmup))) / 2


def clipped(grads):
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: g / max(norm / CLIP, 1) for name, g in grads.items()}


def is_kernel(name):
    return name.endswith(".kernel")


def matrix(kernel):
    return kernel.reshape(-1, kernel.shape[-1])


class Adam:
    def __init__(self, weight_decay=0.0):
        self.weight_decay, self.m, self.v = weight_decay, {}, {}

    def moved(self, name, a, g, lr, step):
        self.m[name] = BETA1 * self.m.get(name, 0) + (1 - BETA1) * g
        self.v[name] = BETA2 * self.v.get(name, 0) + (1 - BETA2) * g**2
        first, second = self.m[name] / (1 - BETA1**step), self.v[name] / (1 - BETA2**step)
        return a - lr * (first / (np.sqrt(second) + 1e-8) + self.weight_decay * a * is_kernel(name))


class Lion:
    def __init__(self, weight_decay=0.0):
        self.weight_decay, self.m = weight_decay, {}

    def moved(self, name, a, g, lr, step):
        m = self.m.get(name, 0)
        self.m[name] = BETA2 * m + (1 - BETA2) * g
        return a - lr * (np.sign(BETA1 * m + (1 - BETA1) * g) + self.weight_decay * a * is_kernel(name))


class Muon(Adam):
    """heads: {name: number}, where a kernel's outputs are (heads, 3, size)."""

    def __init__(self, weight_decay=0.0, heads=None):
        super().__init__(weight_decay)
        self.heads = heads or {}

    def moved(self, name, a, g, lr, step):
        if not is_kernel(name) or {"stem", "head", "conditioning"} & set(name.split(".")):
            return super().moved(name, a, g, lr, step)
        self.m[name] = 0.95 * self.m.get(name, 0) + 0.05 * g
        nesterov = 0.95 * self.m[name] + 0.05 * g
        update = np.empty_like(matrix(a))
        for columns in self.matrices(name, update.shape[1]):
            update[:, columns] = orthogonal(matrix(nesterov)[:, columns])
        return a - lr * (update.reshape(a.shape) + self.weight_decay * a)

    def matrices(self, name, columns):
        """The columns of each matrix in a kernel."""
        heads = self.heads.get(name)
        if heads is None:
            return [np.arange(columns)]
        return np.arange(columns).reshape(heads, 3, -1).swapaxes(0, 1).reshape(3, -1)


def orthogonal(x):
    """By the polynomial of the singular values."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return 0.2 * np.sqrt(max(x.shape)) * (u * s) @ v


class Tiger:
    def __init__(self):
        self.m = {}

    def moved(self, name, a, g, lr, step):
        m = self.m[name] = 0.965 * self.m.get(name, 0) + 0.035 * g
        if a.ndim < 2:
            return a - 0.5 * lr * np.sign(m)
        rms = np.sqrt((a**2).mean(-1, keepdims=True) if "embedding" in name else (a**2).mean())
        return a - lr * np.maximum(rms, 0.02) * (np.sign(m) + 0.01 * a)


class Amos:
    def __init__(self):
        self.v, self.b, self.update = {}, {}, {}

    def moved(self, name, a, g, lr, step):
        axes = {"kernel": tuple(range(a.ndim - 1)), "embedding": (-1,)}.get(name.split(".")[-1])
        eta = {"bias": 0.5, "kernel": 1 / np.sqrt(len(matrix(a)))}.get(name.split(".")[-1], 1.0)
        g2 = (g**2).mean(axes, keepdims=True)
        self.v[name] = 0.999 * self.v.get(name, 0) + 0.001 * g2
        r, b = (1 - 0.999**step) / self.v[name], self.b.get(name, 0)
        gamma = (1 + 0.25 * np.sqrt(lr) * b) ** -0.5 * lr**2 * r * g2
        update = (lr * eta * np.sqrt(r) * g + gamma * a / 2) / (1 + 0.25 * np.sqrt(lr * eta) * b)
        self.b[name] = b + gamma * (1 + b)
        # The average is that of the update over the learning rate.
        self.update[name] = 0.9 * self.update.get(name, 0) + 0.1 * update / lr
        return a - lr * self.update[name]


def trained(optimizer, params, grads, lr, warmup):
    """The parameters after a step for each of the gradients, {name: array} each."""
    params = dict(params)
    for step, of_step in enumerate(grads, 1):
        of_step = clipped(of_step)
        now = rate(step, len(grads), lr, warmup)
        params = {name: optimizer.moved(name, a, of_step[name], now, step) for name, a in params.items()}
    return params
