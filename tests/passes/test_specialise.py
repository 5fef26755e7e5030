from __future__ import annotations

from optloom.codegen.ir.verify import verify
from optloom.codegen.passes.specialise import specialise, without_trivial_rebinds
from optloom.spec.rule import Rule
from optloom.spec.stages import PIPELINE
from programs import RULES, lines, program_before, same


def test_nothing_fixed_changes_nothing(rule: type[Rule]) -> None:
    before = program_before(rule, "specialise")
    assert specialise(before) == before


def test_a_bound_option_means_the_same_as_the_option_set() -> None:
    before = program_before(RULES["adam"], "specialise")
    bound = specialise(before, {"amsgrad": False})
    assert "amsgrad" not in {option.name for option in bound.options}
    assert "v_hat" not in {slot.name for slot in bound.slots}
    assert not any("v_hat" in line for line in lines(bound))
    assert not same(before, bound), "the settings tried set amsgrad in some cases: the meaning must differ there"


def test_an_absent_stage_leaves_no_trace() -> None:
    absent = frozenset(stage.when for stage in PIPELINE) - {"use_ema"}
    before = program_before(RULES["adam"], "specialise")
    options = {"decoupled_weight_decay": True, "use_ema": False, "master_weights": False}
    program = without_trivial_rebinds(specialise(before, options, absent))
    verify(program, "specialise")
    assert len(program.regions) == 1
    assert {hyper.name for hyper in program.hypers}.isdisjoint(absent)
    assert lines(program)[0] == "m <- beta_1 * old(m) + (1 - beta_1) * g"


def test_a_peer_whose_dialect_is_bound_differs_no_more() -> None:
    before = program_before(RULES["adam"], "specialise")
    half = {peer.path: peer.differs for peer in specialise(before, {"epsilon_hat": False}).peers}
    assert half["torch.optim.Adam"] and not half["optax.adam"]
    whole = specialise(before, {"epsilon_hat": False, "decoupled_weight_decay": False})
    assert not any(peer.differs for peer in whole.peers)
    before = program_before(RULES["adafactor"], "specialise")
    theirs = next(peer for peer in before.peers if peer.otherwise)
    (bound,) = (peer for peer in specialise(before, theirs.dialect).peers if peer.path == theirs.path)
    assert bound.differs == ("weight_decay: the size of a parameter is taken before it decays",)
