"""Adam with decoupled weight decay."""

from optloom.spec import Peer

from .adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), on by default."""

    stage_defaults = {"weight_decay": 0.004}

    peers = (
        Peer(
            "torch.optim.AdamW",
            arguments=("lr", "betas", "eps", "weight_decay", "amsgrad"),
            slots=Adam.peers[0].slots,
            defaults={"epsilon": 1e-8, "weight_decay": 0.01},
            differs=("epsilon is added before the second moment's bias is corrected",),
        ),
        Peer(
            "keras.optimizers.AdamW",
            arguments=("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad"),
            slots=Adam.peers[1].slots,
        ),
        Peer(
            "optax.adamw",
            slots=Adam.peers[2].slots,
            defaults={"epsilon": 1e-8, "weight_decay": 1e-4},
            differs=Adam.peers[2].differs,
        ),
    )
