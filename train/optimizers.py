"""Optimisers: (steps) -> optax gradient transformation."""

import jax
import optax


def adamw(steps, lr=1e-3, warmup=100, b1=0.9, b2=0.99, weight_decay=0.0, clip=1.0):
    """AdamW on gradients clipped to a global norm, with linear warm-up and cosine decay to 0 at `steps`.

    Its state tells the learning rate of the last step.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup, steps // 2), steps)
    scale = optax.inject_hyperparams(optax.scale_by_learning_rate)(schedule)
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
        scale,
    )


def of_part(optimizer, name: str | None):
    """The optimiser for the parameters params["net"][name] alone, with no moments of the others, which stay; None: of
    all."""
    if name is None:
        return optimizer

    def labels(params):
        # Optax asks with a tree of no keys, too, for how the state is built.
        return jax.tree_util.tree_map_with_path(lambda path, _: not path or path[1].key == name, params)

    return optax.partition({True: optimizer, False: optax.set_to_zero()}, labels)
