"""Adam with decoupled weight decay."""

from dataclasses import replace

from .adam import Adam

TORCH, KERAS, OPTAX, _ = Adam.peers


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), on by default."""

    stage_defaults = {"weight_decay": 0.004}

    peers = (
        replace(
            TORCH,
            path="torch.optim.AdamW",
            defaults={"epsilon": 1e-8, "weight_decay": 0.01},
            dialect={"epsilon_hat": False},
            differs=OPTAX.differs,
        ),
        replace(
            KERAS,
            path="keras.optimizers.AdamW",
            arguments=("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad"),
        ),
        replace(OPTAX, path="optax.adamw", defaults={"epsilon": 1e-8, "weight_decay": 1e-4}),
    )
