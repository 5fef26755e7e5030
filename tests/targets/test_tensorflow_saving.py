"""State that is saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_cases import (
    LAID_OUT_AS_THERE,
    PEERS,
    all_on,
    data,
    digest,
    keras,
    make,
    small_model,
    state_of,
    tf,
    variable,
)


def test_a_saved_model_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    (x, y), model = data(), small_model()

    def train(model: Any) -> None:
        model.fit(x, y, batch_size=16, epochs=1, verbose=0, shuffle=False)

    model.compile(optimizer=make("adam", amsgrad=True, learning_rate=0.02), loss="mse", jit_compile=False)
    train(model)
    model.save(tmp_path / "model.keras")
    train(model)
    again = keras.models.load_model(tmp_path / "model.keras")
    train(again)
    assert digest(again.get_weights()) == digest(model.get_weights())
    assert state_of(again.optimizer) == state_of(model.optimizer)


def test_a_tensorflow_checkpoint_holds_the_state(tmp_path: Path) -> None:
    v = variable([1.0, 2.0])
    optimizer, again = make("adam", amsgrad=True), make("adam", amsgrad=True)
    optimizer.apply([tf.ones(2)], [v])
    again.build([v])
    path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / "state"))
    tf.train.Checkpoint(optimizer=again).restore(path).assert_existing_objects_matched()
    assert state_of(again) == state_of(optimizer)


def test_the_state_of_another_rule_is_refused(tmp_path: Path) -> None:
    """Adam's and Adamax's have the same numbers, shapes and order."""
    store: dict[str, Any] = {}
    written, other = make("adam"), make("adamax", name="mine")
    for optimizer in (written, other):
        optimizer.build([variable(np.ones(3))])
    written.save_own_variables(store)
    before = state_of(other)
    with pytest.raises(ValueError, match="the state to load is of Adam, optimizer 'mine' is Adamax"):
        other.load_own_variables(store)
    assert state_of(other) == before

    path = str(tmp_path / "state.weights.h5")
    trained("adam", make("adam", name="chosen")).save_weights(path)
    with pytest.raises(ValueError, match=r"the state to load is of Adam, optimizer 'adamax.*' is Adamax"):
        trained("adamax", make("adamax")).load_weights(path)


def test_state_of_other_variables_is_refused() -> None:
    store: dict[str, Any] = {}
    written = make("adam")
    written.build([variable(np.ones(3))])
    written.save_own_variables(store)
    smaller = make("adam")
    smaller.build([variable(np.ones(2))])
    before = state_of(smaller)
    with pytest.raises(ValueError, match=r"momentum has shape \(2,\), the state to load \(3,\)"):
        smaller.load_own_variables(store)
    more = make("adam", amsgrad=True)
    more.build([variable(np.ones(3))])
    with pytest.raises(ValueError, match=r"the state to load has 4 variables, optimizer 'adam.*' has 5"):
        more.load_own_variables(store)
    assert state_of(smaller) == before


def trained(rule: str, optimizer: Any) -> Any:
    """A small model after one epoch; the same for each call."""
    keras.backend.clear_session()
    (x, y), model = data(), small_model()
    model.compile(optimizer=optimizer, loss="mse", run_eagerly=True)
    model.fit(x, y, batch_size=32, epochs=1, verbose=0, shuffle=False)
    return model


@pytest.mark.parametrize(
    ("rule", "kind"), [*((rule, "model.keras") for rule in LAID_OUT_AS_THERE), ("adam", "state.weights.h5")]
)
def test_the_state_in_a_file_of_keras_own_optimizer_loads(rule: str, kind: str, tmp_path: Path) -> None:
    """And training goes on as there, within what the two round differently."""
    arguments = all_on(rule) | {"learning_rate": 0.02}
    stock = trained(rule, getattr(keras.optimizers, PEERS[rule])(**arguments))
    path = str(tmp_path / kind)
    stock.save(path) if kind.endswith(".keras") else stock.save_weights(path)
    model = trained(rule, make(rule, **arguments))
    for v in model.optimizer.variables:
        v.assign(np.ones(v.shape))
    model.load_weights(path)
    for loaded, saved in zip(model.optimizer.variables, stock.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.array(loaded), np.array(saved))
    x, y = data()
    for m in (model, stock):
        m.fit(x, y, batch_size=32, epochs=1, verbose=0, shuffle=False)
    for ours, theirs in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_another_rules_state_in_a_file_of_keras_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "state.weights.h5")
    trained("adam", keras.optimizers.AdamW()).save_weights(path)
    with pytest.raises(ValueError, match=r"the state to load is of AdamW, optimizer 'adam.*' is Adam"):
        trained("adam", make("adam")).load_weights(path)


def test_keras_own_optimizer_loads_the_state(tmp_path: Path) -> None:
    path = str(tmp_path / "state.weights.h5")
    model = trained("adam", make("adam", amsgrad=True))
    model.save_weights(path)
    stock = trained("adam", keras.optimizers.Adam(amsgrad=True))
    stock.load_weights(path)
    for loaded, saved in zip(stock.optimizer.variables[2:], model.optimizer.variables[2:], strict=True):
        np.testing.assert_array_equal(np.array(loaded), np.array(saved))


def test_a_state_without_slots_is_skipped_as_in_keras(tmp_path: Path) -> None:
    path = str(tmp_path / "model.keras")
    model = small_model()
    model.compile(optimizer=make("adam"), loss="mse")
    model.save(path)
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer") as warned:
        store: dict[str, Any] = {}
        make("adam").save_own_variables(store)
        optimizer = make("adam")
        optimizer.build([variable([1.0])])
        optimizer.load_own_variables(store)
    assert len(warned) == 1
    registered = keras.saving.get_registered_object("optloom>Adam")  # the one that was loaded last
    assert isinstance(keras.models.load_model(path).optimizer, registered)
