"""`export_state` and `import_state`: the state as NumPy arrays, by names that all frameworks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optloom.codegen.ir.nodes import SlotInfo
from optloom.spec.guards import Atom, HasAxes, Narrow, evaluate
from tensorflow_cases import PROGRAMS, RULES, all_on, digest, keras, make, numbers, state_of, tf, variable


def two(dtype: str = "float32") -> list[Any]:
    return [variable(numbers(1, (2, 3)), dtype, name="a"), variable(numbers(2, (3,)), dtype, name="b")]


def exists(slot: SlotInfo, axes: int) -> bool:
    """Whether a float32 variable of so many axes has a slot, all options on."""

    def holds(atom: Atom) -> bool:
        return axes >= atom.count if isinstance(atom, HasAxes) else not isinstance(atom, Narrow)

    return evaluate(slot.when, holds)


def step(optimizer: Any, variables: list[Any], seed: int) -> None:
    optimizer.apply([tf.constant(numbers(seed, v.shape), v.dtype) for v in variables], variables)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_continues_with_the_same_bits(rule: str) -> None:
    arguments = all_on(rule) | {"gradient_accumulation_steps": 2, "weight_decay": 0.5}
    variables = two()
    optimizer = make(rule, **arguments)
    for seed in range(3):
        step(optimizer, variables, seed)
    state = optimizer.export_state()
    assert all(type(value) is np.ndarray for value in state.values())
    copies = [variable(v.numpy(), name=v.name) for v in variables]
    again = make(rule, **arguments)
    again.build(copies)
    again.import_state(state)
    for seed in range(3, 6):
        step(optimizer, variables, seed)
        step(again, copies, seed)
    assert digest(v.numpy() for v in copies) == digest(v.numpy() for v in variables)
    assert state_of(again) == state_of(optimizer)
    assert int(state["iterations"]) == 3  # a copy, which later steps do not change


@pytest.mark.parametrize("rule", RULES)
def test_what_is_exported(rule: str) -> None:
    """The counters, and the slots by the rule's own names."""
    variables = two("bfloat16")
    optimizer = make(rule, **all_on(rule), gradient_accumulation_steps=2, use_ema=True)
    for seed in range(5):
        step(optimizer, variables, seed)
    state = optimizer.export_state()
    slots = [
        f"slots/{slot.name}/{path}"
        for slot in PROGRAMS[rule].slots
        if slot.shape != "scalar"
        for path, axes in (("a", 2), ("b", 1))
        if exists(slot, axes)
    ]
    scalars = [f"scalars/{slot.name}" for slot in PROGRAMS[rule].slots if slot.shape == "scalar"]
    assert sorted(state) == sorted(["iterations", "updates/a", "updates/b", *slots, *scalars])
    counted = {key: (state[key].dtype.name, int(state[key])) for key in ("iterations", "updates/a", "updates/b")}
    assert counted == {"iterations": ("int64", 5), "updates/a": ("int64", 2), "updates/b": ("int64", 2)}
    assert {state[key].dtype.name for key in slots + scalars} <= {"float32"}
    shapes = {slot.name: slot.shape for slot in PROGRAMS[rule].slots}
    for key in slots:
        _, name, path = key.split("/")
        expected = {"rows": (2, 1), "columns": (1, 3)}.get(shapes[name], (2, 3) if path == "a" else (3,))
        assert state[key].shape == expected, key


def test_paths_name_variables() -> None:
    keras.backend.clear_session()
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, name="d")], name="net")
    optimizer = make("adagrad")
    optimizer.build(model.trainable_variables)
    assert sorted(optimizer.export_state())[1:3] == ["slots/accumulator/net/d/bias", "slots/accumulator/net/d/kernel"]


def test_names_and_axes() -> None:
    """From where the matrix lies the other way round, under another name."""
    variables = two()
    optimizer = make("adam")
    step(optimizer, variables, 0)
    state = optimizer.export_state()
    theirs = {key.replace("/a", "/net/a"): value.T if key.endswith("/a") else value for key, value in state.items()}
    again = make("adam")
    again.build(two())
    again.import_state(theirs, names={"a": "net/a"}, axes={"a": (1, 0)})
    assert state_of(again) == state_of(optimizer)


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    optimizer = make("adam")
    step(optimizer, two(), 0)
    return optimizer.export_state()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"slots/m/a": None}, {}, "the state has no 'slots/m/a', which optimizer 'mine' needs"),
        ({"iterations": None}, {}, "the state has no 'iterations'"),
        ({"updates/b": None}, {}, "the state has no 'updates/b'"),
        ({"slots/u/a": np.zeros((2, 3))}, {}, "the state has 'slots/u/a', which optimizer 'mine' has no place for"),
        ({"slots/m/a": np.zeros((3, 2))}, {}, r"'slots/m/a' must have shape \(2, 3\) here, not \(3, 2\)"),
        ({"slots/m/a": np.zeros((2, 3), "int32")}, {}, "'slots/m/a' must be of a floating dtype, not int32"),
        ({"updates/b": np.int64(2)}, {}, "'updates/b' is 2 after 1 calls: Keras counts for all variables alike"),
        ({"iterations": np.float64(1)}, {}, "'iterations' must be a whole number"),
        ({}, {"names": {"c": "a"}}, r"optimizer 'mine' has no variable 'c': there are \['a', 'b'\]"),
        ({}, {"axes": {"c": (0,)}}, "optimizer 'mine' has no variable 'c'"),
        ({}, {"axes": {"a": (0, 2)}}, r"'slots/m/a' has 2 axes, which \(0, 2\) is no permutation of"),
        ({}, {"names": {"a": "x"}}, "the state has no 'updates/x'"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    change: dict[str, Any], options: dict[str, Any], message: str, state: dict[str, np.ndarray]
) -> None:
    mapping = {key: value for key, value in (state | change).items() if value is not None}
    optimizer = make("adam", name="mine")
    optimizer.build(two())
    before = state_of(optimizer)
    with pytest.raises(ValueError, match=message):
        optimizer.import_state(mapping, **options)
    assert state_of(optimizer) == before


def test_another_rules_state_is_refused(state: dict[str, np.ndarray]) -> None:
    optimizer = make("adamax")
    optimizer.build(two())
    with pytest.raises(ValueError, match="the state has no 'slots/u/a'"):
        optimizer.import_state(state)


def test_without_slots_or_without_names_there_is_nothing_to_export() -> None:
    with pytest.raises(ValueError, match="has no state yet: call `build` with the variables before"):
        make("adam").export_state()
    optimizer = make("adam")
    optimizer.build([variable([1.0]), variable([2.0])])
    with pytest.raises(ValueError, match="two variables have the path 'w': give them names of their own"):
        optimizer.export_state()
