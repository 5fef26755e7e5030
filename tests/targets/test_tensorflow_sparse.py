"""Sparse gradients: tf.IndexedSlices, lazy and dense, repeated indices summed first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow_cases import (
    DENSE,
    LAZY,
    MODE_OF,
    MODES,
    RULES,
    all_on,
    digest,
    keras,
    make,
    numbers,
    slices,
    stepper,
    tf,
    variable,
)  # fmt: skip

ROWS, TOUCHED = 7, [2, 5, 2, 0, 2]
VALUES = numbers(3, (len(TOUCHED), 3))


def summed(values: np.ndarray, indices: list[int], rows: int = ROWS) -> np.ndarray:
    total = np.zeros((rows, *values.shape[1:]), values.dtype)
    for value, index in zip(values, indices, strict=True):  # in this order, as TensorFlow sums
        total[index] += value
    return total


def slots_of(optimizer: Any, v: Any) -> list[np.ndarray]:
    return [np.array(optimizer.get_slot(v, name).numpy()) for name in optimizer.get_slot_names()]


@pytest.mark.parametrize("sparse", [None, "lazy"])
@pytest.mark.parametrize("rule", LAZY)
def test_lazy_is_the_rule_on_the_touched_rows_alone(rule: str, sparse: str | None) -> None:
    """Bit for bit what an optimizer of these rows alone does; the others keep theirs, in the slots too."""
    arguments: dict[str, Any] = all_on(rule) | {"weight_decay": 0.5, "learning_rate": 0.25}
    table = numbers(1, (ROWS, 3))
    rows = sorted(set(TOUCHED))
    v, alone = variable(table), variable(table[rows])
    optimizer, dense = make(rule, sparse=sparse, **arguments), make(rule, **arguments)
    warm = numbers(2, (ROWS, 3))
    optimizer.apply([tf.constant(warm)], [v])
    dense.apply([tf.constant(warm[rows])], [alone])
    before, slots_before = v.numpy().copy(), slots_of(optimizer, v)
    step = stepper(optimizer, [v], MODE_OF[rule])
    # A graph's optimizer regroups the same formula alike, XLA one of rows otherwise than one of a whole variable.
    step_alone = stepper(dense, [alone], "function" if MODE_OF[rule] == "function" else "eager")
    for _ in range(2):
        step(slices(VALUES, TOUCHED, ROWS))
        step_alone(tf.constant(summed(VALUES, TOUCHED)[rows]))

    others = [row for row in range(ROWS) if row not in rows]
    if MODE_OF[rule] == "xla":  # which contracts products into sums
        np.testing.assert_allclose(v.numpy()[rows], alone.numpy(), rtol=1e-5)
    else:
        assert digest([v.numpy()[rows]]) == digest([alone.numpy()])
    assert digest([v.numpy()[others]]) == digest([before[others]])
    for slot, first, expected in zip(slots_of(optimizer, v), slots_before, slots_of(dense, alone), strict=True):
        assert digest([slot[others]]) == digest([first[others]])
        np.testing.assert_allclose(slot[rows], expected, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_dense_is_the_rule_on_the_whole_gradient(rule: str) -> None:
    """Repeated indices are summed before any square."""
    table = numbers(1, (ROWS, 3))
    v, expected = variable(table), variable(table)
    optimizer, plain = make(rule, sparse="dense", weight_decay=0.5), make(rule, weight_decay=0.5)
    for _ in range(2):
        optimizer.apply([slices(VALUES, TOUCHED, ROWS)], [v])
        plain.apply([tf.constant(summed(VALUES, TOUCHED))], [expected])
    assert digest([v.numpy()]) == digest([expected.numpy()])


def test_keras_squares_before_it_sums() -> None:
    """Where the peer departs: the reason why repeated indices are tested at all."""
    ours, stock = variable(np.zeros((1, 1))), variable(np.zeros((1, 1)))
    gradient = slices([[3.0], [4.0]], [0, 0], 1)
    for optimizer, v in ((make("adagrad"), ours), (keras.optimizers.Adagrad(), stock)):
        optimizer.apply([gradient], [v])
    assert ours.numpy()[0, 0] == pytest.approx(-0.001 * 7 / np.sqrt(0.1 + 49), rel=1e-5)
    assert stock.numpy()[0, 0] == pytest.approx(-0.001 * 7 / np.sqrt(0.1 + 25), rel=1e-5)


@pytest.mark.parametrize("rule", DENSE)
def test_a_rule_of_whole_tensors_has_no_lazy_update(rule: str) -> None:
    with pytest.raises(ValueError, match=r"sparse='lazy' has no meaning here: `.*` .*; pass 'dense'"):
        make(rule, sparse="lazy")
    v, expected = variable(np.ones((ROWS, 3))), variable(np.ones((ROWS, 3)))
    make(rule).apply([slices(VALUES, TOUCHED, ROWS)], [v])
    make(rule).apply([tf.constant(summed(VALUES, TOUCHED))], [expected])
    assert digest([v.numpy()]) == digest([expected.numpy()])


def test_lazy_and_accumulation_exclude_each_other() -> None:
    message = "sparse='lazy' has no meaning with gradient_accumulation_steps"
    with pytest.raises(ValueError, match=message):
        make("adam", sparse="lazy", gradient_accumulation_steps=2)
    optimizer = make("adam", sparse="lazy")
    optimizer.gradient_accumulation_steps = 2
    with pytest.raises(ValueError, match=message):
        optimizer.build([variable([1.0])])
    v, expected = variable(np.ones((ROWS, 3))), variable(np.ones((ROWS, 3)))
    by_default = make("adam", gradient_accumulation_steps=2)
    for indices in (TOUCHED, [1, 1, 6, 6, 3]):
        by_default.apply([slices(VALUES, indices, ROWS)], [v])
    mean = (summed(VALUES, TOUCHED) + summed(VALUES, [1, 1, 6, 6, 3])) / 2
    make("adam").apply([tf.constant(mean)], [expected])
    np.testing.assert_allclose(v.numpy(), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_dtypes(mode: str, dtype: str) -> None:
    """Rows of 16 bits are summed in float32."""
    v = variable(np.ones((3, 1)), dtype)
    step = stepper(make("sgd", learning_rate=1.0), [v], mode)
    step(slices([[1.0], [2.0**-8], [2.0**-8]], [1, 1, 1], 3, dtype))
    assert v.numpy()[:, 0].astype("float64").tolist() == [1, -(2.0**-7), 1]


def test_only_rows_are_read_and_written() -> None:
    """No operation of the traced step has the table's shape, but for what names its variables."""
    optimizer, v = make("adam", amsgrad=True, weight_decay=0.5), variable(np.ones((1000, 3)))
    optimizer.build([v])
    step = tf.function(lambda values, indices: optimizer.apply([slices_of(values, indices)], [v]))

    def slices_of(values: Any, indices: Any) -> Any:
        return tf.IndexedSlices(values, indices, tf.constant([1000, 3]))

    graph = step.get_concrete_function(tf.TensorSpec((2, 3)), tf.TensorSpec((2,), "int64")).graph
    kinds = [op.type for op in graph.get_operations()]
    assert kinds.count("ResourceScatterUpdate") == 4
    assert kinds.count("ResourceGather") == 4
    assert all(
        1000 not in (out.shape.as_list() or ()) for op in graph.get_operations() for out in op.outputs if out.shape.rank
    )


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ((np.ones((2, 4), "float32"), [0, 1]), r"must have rows \(3,\), one for each index, not \(2, 4\)"),
        ((np.ones((2, 3), "float32"), [0, 1, 2]), r"one for each index, not \(2, 3\) for indices \(3,\)"),
        ((np.ones((2, 3), "int32"), [0, 1]), "must be of a floating dtype, not int32"),
        ((np.ones((2, 3), "float32"), [0.5, 1]), "for indices .* of dtype float32"),
    ],
)
def test_rows_that_do_not_fit_are_refused(gradient: tuple[Any, Any], message: str) -> None:
    v = variable(np.ones((ROWS, 3)))
    values, indices = gradient
    with pytest.raises(ValueError, match=f"the gradient of w .*{message}"):
        make("adam").apply([tf.IndexedSlices(tf.constant(values), tf.constant(indices))], [v])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`sparse` must be one of \('lazy', 'dense'\) or None. Received: .*'no'"):
        make("adam", sparse="no")


@pytest.mark.parametrize("rule", ["adam", "lamb"])
@pytest.mark.parametrize("how", [{"jit_compile": False}, {"jit_compile": True}])
def test_an_embedding_trains_in_fit(rule: str, how: dict[str, bool]) -> None:
    """With repeated words, which the batch is full of; the words that never come keep their vectors if it is lazy."""
    keras.utils.set_random_seed(0)
    words = np.random.default_rng(0).integers(0, 10, (64, 5))
    model = keras.Sequential([keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.build((None, 5))
    before = model.layers[0].embeddings.numpy().copy()
    model.compile(optimizer=make(rule, learning_rate=0.05, weight_decay=0.01), loss="mse", **how)
    target = (words % 3).sum(axis=1, keepdims=True).astype("float32")
    losses = model.fit(words, target, batch_size=16, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    after = model.layers[0].embeddings.numpy()
    assert (np.abs(after[:10] - before[:10]).max(axis=1) > 0).all()
    assert bool((after[10:] == before[10:]).all()) == (rule in LAZY)
