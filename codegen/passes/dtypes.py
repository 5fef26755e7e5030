"""dtypes: the dtype that slots are kept in.

Precondition: a frozen program. With "parameter", what a rule keeps of each element is kept in the parameter's dtype:
it is rounded before anything reads it, so that a step computes with what the next one finds. Three kinds of slots stay
in the compute dtype: those that start as a copy of the parameter, which are weights, and would lose what it loses;
those of stages; and those with fewer numbers than elements, which take no memory to speak of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..ir.nodes import Fn, Kind, Op, Program, Ref, SlotInfo, Statement, Store

SlotDtype = Literal["compute", "parameter"]


def dtypes(program: Program, slot_dtype: SlotDtype) -> Program:
    if slot_dtype == "compute":
        return program
    slots = tuple(replace(slot, storage="parameter") if _may_be_narrow(slot) else slot for slot in program.slots)
    narrow = {slot.name for slot in slots if slot.storage == "parameter"}

    def rounded(statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.slot in narrow:
            return replace(statement, value=Op(Fn.STORED, (statement.value,)))
        return statement

    regions = tuple(replace(region, statements=tuple(map(rounded, region.statements))) for region in program.regions)
    return replace(program, slots=slots, regions=regions)


def _may_be_narrow(slot: SlotInfo) -> bool:
    is_copy = isinstance(slot.init, Ref) and slot.init.kind is Kind.PARAMETER
    return slot.shape == "parameter" and not slot.stage and not is_copy
