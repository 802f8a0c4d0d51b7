"""Optimisers: (steps) -> optax gradient transformation."""

import optax


def adamw(steps, lr=1e-3, warmup=100, b1=0.9, b2=0.99, weight_decay=0.0, clip=1.0):
    """AdamW on gradients clipped to a global norm, with linear warm-up and cosine decay to 0 at `steps`."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup, steps // 2), steps)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay))
