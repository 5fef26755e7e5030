"""Slots of the variable's dtype in Keras: saved, moved, of sparse gradients, beside master weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optloom.codegen.compiler import Settings
from optloom.codegen.conformance.protocol import load_module
from optloom.codegen.conformance.rendering import rendered
from optloom.codegen.discovery import discover
from tensorflow_cases import data, keras, slices, stepper, tf, variable


@pytest.fixture
def module(tmp_path: Path) -> Any:
    file = rendered(discover()["adam"], "adam", "tensorflow", "fast", tmp_path, Settings(slot_dtype="parameter"))
    return load_module(str(file))


def trained(optimizer: Any, calls: int = 3) -> tuple[Any, Any]:
    """A variable of bfloat16 after some steps, and what makes another."""
    w = variable([1.0, -2.0, 0.3], "bfloat16", name="w")
    optimizer.build([w])

    def step(call: int) -> None:
        optimizer.apply([tf.constant([0.3, -0.7, 1.1 * call], tf.bfloat16)], [w])

    for call in range(calls):
        step(call)
    return w, step


def goes_on_alike(w: Any, step: Any, again: Any, take_over: Callable[[], None]) -> None:
    """Another optimizer takes over the state that `step` left, and the weights: its next step has the same bits."""
    other, go_on = trained(again, 0)
    take_over()
    other.assign(w)
    for one in (step, go_on):
        one(5)
    np.testing.assert_array_equal(w.numpy(), other.numpy())


def state(optimizer: Any) -> list[np.ndarray]:
    return [np.array(x.numpy()) for x in optimizer.variables]


def test_a_saved_model_goes_on_with_the_same_bits(module: Any, tmp_path: Path) -> None:
    x, y = data()
    layers = [keras.layers.Dense(4, dtype="bfloat16"), keras.layers.Dense(1, dtype="bfloat16")]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile(optimizer=module.Adam(learning_rate=0.02, amsgrad=True, master_weights=True), loss="mse")

    def train(model: Any) -> None:
        model.fit(x, y, batch_size=16, epochs=1, verbose=0, shuffle=False)

    train(model)
    model.save(tmp_path / "model.keras")
    train(model)
    again = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Adam": module.Adam})
    assert all(slot.dtype == "bfloat16" for slot in (*again.optimizer._m, *again.optimizer._v_hat))
    assert all(slot.dtype == "float32" for slot in again.optimizer._master_weight)
    train(again)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(state(model.optimizer), state(again.optimizer), strict=True):
        np.testing.assert_array_equal(one, other)


def test_own_variables_are_loaded_as_they_were_saved(module: Any) -> None:
    optimizer, again = module.Adam(amsgrad=True), module.Adam(amsgrad=True)
    w, step = trained(optimizer)
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    goes_on_alike(w, step, again, lambda: again.load_own_variables(store))
    for kept, loaded in zip(state(optimizer), state(again), strict=True):
        assert kept.dtype == loaded.dtype
        np.testing.assert_array_equal(kept, loaded)


def test_exported_state_is_exact_and_goes_on(module: Any) -> None:
    optimizer, again = module.Adam(), module.Adam()
    w, step = trained(optimizer)
    exported = optimizer.export_state()
    assert exported["slots/m/w"].dtype == np.float32
    np.testing.assert_array_equal(exported["slots/m/w"], optimizer._m[0].numpy().astype(np.float32))
    goes_on_alike(w, step, again, lambda: again.import_state(exported))


@pytest.mark.parametrize("mode", ["eager", "function"])
def test_rows_of_sparse_gradients_are_as_dense_ones(mode: str, module: Any) -> None:
    sparse, dense = (variable(np.ones((3, 2)), "bfloat16", name="w") for _ in range(2))
    optimizers = module.Adam(learning_rate=0.1), module.Adam(learning_rate=0.1)
    rows = np.array([[0.3, -0.7], [1.1, 0.01]], np.float32)
    whole = np.zeros((3, 2), np.float32)
    whole[[0, 2]] = rows
    for optimizer, w in zip(optimizers, (sparse, dense), strict=True):
        optimizer.build([w])
        step = stepper(optimizer, [w], mode)
        for _ in range(3):
            given = slices(rows, [0, 2], 3) if w is sparse else tf.constant(whole)
            step(given)
    np.testing.assert_array_equal(sparse.numpy(), dense.numpy())
    np.testing.assert_array_equal(optimizers[0]._v[0].numpy(), optimizers[1]._v[0].numpy())
    assert optimizers[0]._v[0].dtype == "bfloat16"
