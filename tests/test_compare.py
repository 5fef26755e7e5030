"""`optloom compare`: what the rules say of their peers, side by side, and the distance of their trajectories."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from optloom.codegen.api import UnknownName
from optloom.codegen.compare import Comparison, Conversion, compare, distances
from optloom.codegen.discovery import discover

Command = Callable[..., subprocess.CompletedProcess[str]]
RULES = discover()


def _conversion(comparison: Comparison, source: str, target: str) -> Conversion:
    return next(
        one for one in comparison.conversions if one.source.startswith(source) and one.target.startswith(target)
    )


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_compared(name: str) -> None:
    found = compare(RULES[name])
    assert list(found.peers) == [peer.path for peer in RULES[name].peers]
    count = len(found.peers)
    assert len(found.conversions) == count * (count - 1)
    for conversion in found.conversions:
        back = _conversion(found, conversion.target, conversion.source)
        assert {(a, b) for a, b in conversion.assignments} == {(b, a) for a, b in back.assignments}


def test_hyperparameters_convert_by_name() -> None:
    found = compare(RULES["adam"], ["torch", "optax"])
    conversion = _conversion(found, "torch", "optax")
    assert ("b1", "betas[0]") in conversion.assignments and ("eps", "eps") in conversion.assignments
    assert any("weight_decay of torch.optim.Adam has no counterpart" in text for text in conversion.kept_apart)
    assert any("decoupled_weight_decay is False in torch" in text for text in conversion.kept_apart)


def test_other_defaults_are_to_be_said() -> None:
    found = compare(RULES["adam"], ["torch", "keras"])
    assert ("epsilon", 1e-8) in _conversion(found, "torch", "keras").give
    assert ("eps", 1e-7) in _conversion(found, "keras", "torch").give


def test_peers_are_chosen_by_package_or_path() -> None:
    assert compare(RULES["adam"], ["optax.adam", "keras"]).peers == ["optax.adam", "keras.optimizers.Adam"]
    with pytest.raises(UnknownName, match="did you mean keras"):
        compare(RULES["adam"], ["kera"])


def test_distances_are_those_of_the_formulas() -> None:
    """Coupled and decoupled decay are two formulas, even where nothing else differs; of SGD they are the same."""
    found = {(one.given, one.a, one.b): one for one in distances(RULES["adamax"], ["torch", "keras"], steps=20)}
    decayed = found["weight_decay=0.1", "torch.optim.Adamax", "keras.optimizers.Adamax"]
    assert decayed.distance > 1e-3 and decayed.steps == 20
    plain = found["the rule's defaults", "torch.optim.Adamax", "keras.optimizers.Adamax"]
    assert plain.distance < decayed.distance
    of_sgd = [one for one in distances(RULES["sgd"], ["torch", "keras"], steps=20) if one.given == "weight_decay=0.1"]
    assert of_sgd and all(one.distance < 1e-14 for one in of_sgd)


def test_peers_of_the_same_formula_have_no_distance() -> None:
    found = distances(RULES["lamb"], steps=5)
    assert [one.distance for one in found if one.given == "the rule's defaults"] == [0]
    assert all(one.distance > 0 for one in found if one.given == "each peer's defaults")


def test_the_command(optloom: Command) -> None:
    done = optloom("compare", "adam", "torch", "keras", "optax", "--numbers", "--steps", "10")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("betas[0] = 0.9", "b1 = betas[0]", "from optax.adam to torch.optim.Adam", "after 10 steps"):
        assert text in done.stdout, text
    plain = json.loads(optloom("compare", "lamb", "--numbers", "--json").stdout)
    assert plain["comparison"]["peers"] == ["keras.optimizers.Lamb", "optax.lamb"]
    assert plain["distances"][0]["steps"] == 100


@pytest.mark.parametrize("arguments", [("adamm",), ("adam", "pytorch"), ("adam", "--steps", "0")])
def test_bad_input(optloom: Command, arguments: tuple[str, ...]) -> None:
    done = optloom("compare", *arguments)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr
