"""Trains on one device and on two replicas, and prints what came of it as JSON: a program of its own.

TensorFlow is told of logical devices before it starts, which a test's process has long done.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_cases as cases
from tensorflow_cases import keras, make, tf

CASES: dict[str, dict[str, Any]] = {
    "adam": {
        "learning_rate": 0.05, "weight_decay": 0.1, "gradient_accumulation_steps": 2, "global_clipnorm": 0.5,
        "loss_scale_factor": 8.0, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2,
        "skip_nonfinite": True,
    },
    "lamb": {"learning_rate": 0.05, "weight_decay": 0.1},
    "sgd": {"learning_rate": lambda: 0.05, "momentum": 0.5},
    "nadam": {"learning_rate": 0.05},
    "prodigy": {"d_0": 0.01},
    "dog": {"first_step": 0.01, "gradient_accumulation_steps": 2},
    "polyak_sgd": {},
    "adafactor": {"learning_rate": 0.05},
}  # fmt: skip
"""Norms; a number that is called for; masked updates; slots of the whole optimizer; sums over all variables; a loss
that `fit` gives; slots of rows and columns; all stages."""


def fitted(scope: Callable[[], Any], rule: str, **arguments: Any) -> list[Any]:
    return fitted_with(scope, lambda: make(rule, **arguments))


def fitted_with(scope: Callable[[], Any], make_optimizer: Callable[[], Any]) -> list[Any]:
    """The weights and the optimizer's variables after `fit`: with an embedding, whose words come more than once."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    words = np.random.default_rng(0).integers(0, 5, (32, 4))
    y = words.sum(axis=1, keepdims=True).astype("float32") / 10
    with scope():
        constraint = keras.constraints.MaxNorm(1.0, axis=1)
        layers = [keras.layers.Embedding(6, 3, embeddings_constraint=constraint), keras.layers.Flatten()]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(optimizer=make_optimizer(), loss="mse")
    data = tf.data.Dataset.from_tensor_slices((words, y)).batch(16)
    model.fit(data, epochs=3, verbose=0)
    return [np.array(v).astype("float64").tolist() for v in (*model.trainable_variables, *model.optimizer.variables)]


def copies(strategy: Any) -> list[Any]:
    """All copies of a slot and a variable after eager steps of replicas with different gradients."""
    with strategy.scope():
        v = cases.variable([1.0, 2.0])
        optimizer = make("lamb", learning_rate=0.5)
        optimizer.build([v])
    replica_id = lambda: tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, "float32")  # noqa: E731
    for _ in range(2):
        strategy.run(lambda: optimizer.apply([tf.constant([1.0, 2.0]) * (replica_id() - 0.25)], [v]))
    alone = cases.variable([1.0, 2.0])
    single = make("lamb", learning_rate=0.5)
    for _ in range(2):
        single.apply([tf.constant([1.0, 2.0]) * (-0.25 + 0.75)], [alone])
    kept = [v.value, optimizer.get_slot(v, "m").value, optimizer.get_slot(v, "v").value]
    expected = [alone, single.get_slot(alone, "m"), single.get_slot(alone, "v")]
    return [
        [[part.numpy().tolist() for part in k.values], e.numpy().tolist()] for k, e in zip(kept, expected, strict=True)
    ]


ON_REPLICAS: dict[str, dict[str, Any]] = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "overwriting": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
}
"""What Keras's own optimizers put into a `tf.cond`, where no replicas can merge."""


def fitted_by_keras(scope: Callable[[], Any], **arguments: Any) -> str:
    """The error that `fit` of `keras.optimizers.SGD` ends in; empty if it does not."""
    try:
        fitted_with(scope, lambda: keras.optimizers.SGD(0.05, **arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def clipped(strategy: Any, make_optimizer: Callable[[], Any]) -> list[float]:
    """What replicas with the gradients (300, 0) and (0, 400) move the weights by, at rate 1."""
    with strategy.scope():
        v = cases.variable([0.0, 0.0])
        optimizer = make_optimizer()
        optimizer.build([v])

    def step() -> None:
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        optimizer.apply([tf.where(first, [300.0, 0.0], [0.0, 400.0])], [v])

    tf.function(strategy.run)(step)
    return [float(x) for x in v.numpy()]


def continued(strategy: Any, folder: Path) -> dict[str, list[Any]]:
    """All state after three steps, without a break and saved after the first, in the midst of an accumulation, and
    restored: on replicas, and on one device.
    """

    def started(scope: Callable[[], Any]) -> tuple[Any, Any, tf.train.Checkpoint]:
        with scope():
            v = cases.variable([1.0, 2.0])
            optimizer = make("adam", **CASES["adam"])
            optimizer.build([v])
        return v, optimizer, tf.train.Checkpoint(v=v.value, optimizer=optimizer)

    def stepped(v: Any, optimizer: Any, steps: range) -> list[Any]:
        def step(number: Any) -> None:
            share = number / tf.distribute.get_replica_context().num_replicas_in_sync
            optimizer.apply([tf.constant([0.5, -2.0]) * share], [v])

        run = tf.function(lambda number: tf.distribute.get_strategy().run(step, args=(number,)))
        for number in steps:
            run(tf.constant(number, "float32"))
        return [np.array(x).astype("float64").tolist() for x in (v, *optimizer.variables)]

    found = {}
    with strategy.scope():
        found["without a break"] = stepped(*started(nullcontext)[:2], range(1, 4))
        v, optimizer, checkpoint = started(nullcontext)
        stepped(v, optimizer, range(1, 2))
        saved = checkpoint.write(str(folder / "state"))
        exported = optimizer.export_state()
    for place, scope in (("on replicas", strategy.scope), ("on one device", nullcontext)):
        with scope():
            v, optimizer, checkpoint = started(nullcontext)
            checkpoint.read(saved).assert_consumed()
            found[f"restored {place}"] = stepped(v, optimizer, range(2, 4))
            v.assign([1.0, 2.0])  # weights are the user's to move; accumulation has not changed them yet
            optimizer.import_state(exported)
            found[f"imported {place}"] = stepped(v, optimizer, range(2, 4))
    return found


def refused(strategy: Any) -> dict[str, Any]:
    """The error of a fused step on replicas, eager and traced, and the weights before and after it."""
    with strategy.scope():
        v = cases.variable([1.0, 2.0])
        optimizer = make("sgd", learning_rate=0.5, fused=True)
        optimizer.build([v])
    found = {}
    for way, run in (("eager", strategy.run), ("traced", tf.function(strategy.run))):
        try:
            run(lambda: optimizer.apply([tf.constant([1.0, 2.0])], [v]))
            found[way] = ""
        except Exception as error:
            found[way] = f"{type(error).__name__}: {error}"
    return found | {"weights": [part.numpy().tolist() for part in v.value.values]}


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    found = {rule: [fitted(scope, rule, **arguments) for scope in (nullcontext, strategy.scope)]
             for rule, arguments in CASES.items()}  # fmt: skip
    masked = {
        name: {
            "keras": fitted_by_keras(strategy.scope, **arguments),
            "here": [fitted(scope, "sgd", learning_rate=0.05, **arguments) for scope in (nullcontext, strategy.scope)],
        }
        for name, arguments in ON_REPLICAS.items()
    }
    clips = {
        clip: [clipped(strategy, functools.partial(kind, learning_rate=1.0, **{clip: 1.0}))
               for kind in (keras.optimizers.SGD, functools.partial(make, "sgd"))]
        for clip in ("clipnorm", "global_clipnorm", "clipvalue")
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        kept = continued(strategy, Path(folder))
    report = {"fit": found, "copies": copies(strategy), "masked": masked, "clipped": clips, "continued": kept}
    report["refused"] = refused(strategy)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
