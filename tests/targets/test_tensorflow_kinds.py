"""Rules of every kind as Keras optimizers: sums over all variables, slots of other shapes, inputs, products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow_cases import MODES, PRINTED, PROGRAMS, data, keras, load, make, numbers, slices, stepper, tf, variable

SHAPES = ((4, 3), (5,), (), (2, 3, 4))
NEEDS_SUMS = [
    rule for rule in PRINTED if not PROGRAMS[rule].inputs and any(s.shape == "scalar" for s in PROGRAMS[rule].slots)
]
OTHER_SHAPES = [rule for rule in PRINTED if {s.shape for s in PROGRAMS[rule].slots} - {"parameter", "scalar"}]
INPUTS = [rule for rule in PRINTED if PROGRAMS[rule].inputs]
NEW = sorted({*NEEDS_SUMS, *OTHER_SHAPES, "muon"})


def parameters(dtype: str = "float64") -> list[np.ndarray]:
    return [numbers(seed, shape, dtype) for seed, shape in enumerate(SHAPES)]


def built(rule: str, dtype: str = "float64", **arguments: Any) -> tuple[Any, list[Any]]:
    variables = [variable(w, dtype, name=f"w{i}") for i, w in enumerate(parameters())]
    optimizer = make(rule, **arguments)
    optimizer.build(variables)
    return optimizer, variables


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rule", NEW)
def test_variables_of_all_shapes_together_move_as_in_numpy(rule: str, mode: str) -> None:
    """float64: what is summed over all variables, and kept, is one number for all of them."""
    optimizer, variables = built(rule, gradient_accumulation_steps=2, global_clipnorm=3.0, weight_decay=0.01)
    arrays = parameters()
    reference = getattr(load(rule, "strict", "numpy"), PROGRAMS[rule].name)(
        arrays, gradient_accumulation_steps=2, global_clipnorm=3.0, weight_decay=0.01
    )
    step = stepper(optimizer, variables, mode)
    for call in range(6):
        gradients = [numbers(100 + 10 * call + i, w.shape, "float64") for i, w in enumerate(arrays)]
        step(*gradients)
        reference.step(gradients)
    for v, w in zip(variables, reference.params, strict=True):
        np.testing.assert_allclose(v.numpy(), w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", NEW)
def test_state_goes_to_another_optimizer_and_on(rule: str) -> None:
    """By name, through a file's store, and by `export_state`; the next step has the same bits."""
    (first, variables), (by_name, others), (stored, more) = built(rule), built(rule), built(rule)
    gradients = [tf.constant(numbers(7 + i, shape, "float64")) for i, shape in enumerate(SHAPES)]
    for _ in range(2):
        first.apply(gradients, variables)
    store: dict[str, Any] = {}
    first.save_own_variables(store)
    stored.load_own_variables(store)
    by_name.import_state(first.export_state())
    for target in (others, more):
        for v, w in zip(target, variables, strict=True):
            v.assign(w)
    for optimizer, target in ((first, variables), (by_name, others), (stored, more)):
        optimizer.apply(gradients, target)
    for v, a, b in zip(variables, others, more, strict=True):
        assert v.numpy().tobytes() == a.numpy().tobytes() == b.numpy().tobytes()
    assert type(first).from_config(first.get_config()).get_config() == first.get_config()


@pytest.mark.parametrize("rule", NEW)
def test_repeated_rows_are_summed_first(rule: str) -> None:
    values, indices = numbers(3, (3, 3)), [1, 3, 1]
    v, expected = variable(numbers(1, (4, 3))), variable(numbers(1, (4, 3)))
    whole = np.zeros((4, 3), "float32")
    np.add.at(whole, indices, values)
    make(rule).apply([slices(values, indices, 4)], [v])
    make(rule).apply([tf.constant(whole)], [expected])
    np.testing.assert_allclose(v.numpy(), expected.numpy(), rtol=1e-6)


def test_slots_have_the_shapes_of_rows_and_columns() -> None:
    optimizer, (matrix, vector, _, stack) = built("adafactor")
    assert [tuple(optimizer.get_slot(matrix, name).shape) for name in ("r", "c")] == [(4, 1), (1, 3)]
    assert [tuple(optimizer.get_slot(stack, name).shape) for name in ("r", "c")] == [(2, 3, 1), (2, 1, 4)]
    assert tuple(optimizer.get_slot(vector, "v").shape) == (5,)
    with pytest.raises(ValueError, match=r"variable w0 of shape \(4, 3\) has no slot 'v'"):
        optimizer.get_slot(matrix, "v")


@pytest.mark.parametrize("rule", INPUTS)
def test_a_missing_or_unknown_input_is_named(rule: str) -> None:
    v, (name,) = variable([1.0]), [source.name for source in PROGRAMS[rule].inputs]
    with pytest.raises(
        TypeError, match=rf"a step of {PROGRAMS[rule].name} needs `{name}`: call apply\(..., {name}=...\)"
    ):
        make(rule).apply([tf.ones(1)], [v])
    with pytest.raises(TypeError, match="`apply` of Adam takes no 'loss', only nothing beside gradients"):
        make("adam").apply([tf.ones(1)], [v], loss=1.0)
    assert v.numpy()[0] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "`hessian` must be a tensor for each of 1 variables, received 0"),
        ([None], "`hessian` of w must be a tensor of its shape, not None"),
        ([np.ones(2, "float32")], r"`hessian` of w must be .* its shape \(1,\), not float32 and \(2,\)"),
        ([np.ones(1, "int32")], "`hessian` of w must be of a floating dtype"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("sophia").apply([tf.ones(1)], [variable([1.0])], hessian=given)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_decides_polyaks_step(mode: str) -> None:
    """w - (loss - 0) / |g|^2 g."""
    v, optimizer = variable([2.0, 1.0]), make("polyak_sgd", learning_rate=10.0)
    optimizer.build([v])

    def step(loss: Any) -> None:
        optimizer.apply_gradients([(tf.constant([3.0, 4.0]), v)], loss=loss)

    run = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
    for loss in (5.0, 10.0):
        run(tf.constant(loss))
    np.testing.assert_allclose(v.numpy(), [2 - 0.6 - 1.2, 1 - 0.8 - 1.6], rtol=1e-6)


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}])
def test_fit_gives_the_loss(how: dict[str, bool]) -> None:
    """A line through one point: Polyak's step is (loss / |g|^2) g, from the loss that `fit` computed in that step."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizer=make("polyak_sgd"), loss="mse", **how)
    model.fit(np.ones((1, 1)), np.full((1, 1), 3.0), epochs=3, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], [[3 - 2 * 0.5**3]], rtol=1e-6)
    with pytest.raises(TypeError, match="needs `loss`"):  # of no earlier step
        model.optimizer.apply([tf.ones((1, 1))], model.trainable_variables)


def test_fit_without_a_hessian_says_where_to_give_it() -> None:
    (x, y), model = data(), keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer=make("sophia"), loss="mse")
    with pytest.raises(TypeError, match="under `fit` in the model's own `train_step`"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize("how", [{"jit_compile": False}, {"jit_compile": True}])
@pytest.mark.parametrize("rule", NEW)
def test_they_train_in_fit(rule: str, how: dict[str, bool]) -> None:
    keras.utils.set_random_seed(0)
    (x, y), layers = data(), [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer=make(rule), loss="mse", **how)
    losses = model.fit(x, y, batch_size=16, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_a_rules_own_weight_decay_keeps_its_default() -> None:
    assert make("lars").weight_decay == make("novograd").weight_decay == 0
