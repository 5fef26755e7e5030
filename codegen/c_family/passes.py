"""Passes over the elements, from a program's regions and phases, with the lines of their functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from optloom.spec.guards import ALWAYS, Guard, before_tensors

from ..ir.nodes import Fn, Kind, Let, Op, Program, Ref, Statement, Store, references, walk
from ..passes.fission import phases
from ..passes.joined import joined
from ..passes.traffic import Phase, Sum
from ..printing import UnsupportedOperation
from .along import IN_MATRICES, LINES, SHAPES, Along, AlongBuilder, Shapes, check_elements
from .between import BetweenBuilder, PerRow, PerTensor
from .layout import Dialect, Operand, Switches, guards_of
from .lines import Lines, references_of
from .printer import ElementPrinter, local
from .products import Elementwise, Matrices, Products, matrices_of, products

COUNTS = {"tensor": "1", "rows": "x.matrices * x.rows", "columns": "x.matrices * x.columns"}
"""How many numbers a slot has that has none for each element."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A function of one element and the loop around it. `given`: what it needs beside its operands, (type, name).
    `per_row` and `per_tensor`: what is computed before it. `writes_back`: it is the last of its call to read the
    gradient. `totals`: those `sums` that are over all tensors. `reductions`: what `sums` add up. `guards`: one of them
    holds; `condition` says so, empty for always; `of_tensors` says which tensors alone it is for, by their axes.
    `numbers`: slots of other shapes that it starts, as (name, value, condition, count). `axes`: what elements ask of
    the number of axes, as (switch, count). `along`: what is computed for each matrix, row and column before it.
    `row_sums` and `column_sums`: those along axes. `products`: of matrices, before it. `is_random`:
    elements are told where they lie, for what is rounded by chance."""

    name: str
    doc: str
    given: tuple[tuple[str, str], ...]
    switches: tuple[str, ...]
    operands: tuple[Operand, ...]
    lines: tuple[str, ...]
    sums: tuple[str, ...] = ()
    per_row: PerRow | None = None
    per_tensor: PerTensor | None = None
    writes_back: bool = False
    reductions: tuple[Sum, ...] = ()
    condition: str = ""
    of_tensors: str = ""
    guards: tuple[Guard, ...] = (ALWAYS,)
    numbers: tuple[tuple[str, str, str, str], ...] = ()
    reads_row: bool = False
    reads: frozenset[Ref] = frozenset()
    axes: tuple[tuple[str, int], ...] = ()
    along: tuple[Along, ...] = ()
    row_sums: tuple[str, ...] = ()
    column_sums: tuple[str, ...] = ()
    products: Matrices | None = None
    is_random: bool = False

    @property
    def buffers(self) -> tuple[Operand, ...]:
        """The operands that hold values of whole matrices."""
        return tuple(operand for operand in self.operands if operand.is_buffer)

    @property
    def terms(self) -> tuple[str, ...]:
        """What an element adds to."""
        return self.sums + self.row_sums + self.column_sums

    @property
    def along_axes(self) -> tuple[Sum, ...]:
        """The reductions along axes that the pass makes, of elements and of rows."""
        own = (total for total in self.reductions if total.over == "axis")
        return (*own, *(total for each in self.along for total in each.reductions))

    @property
    def is_tiled(self) -> bool:
        """Whether matrices are taken tile by tile, for sums along their axes."""
        return bool(self.row_sums or self.column_sums)

    @property
    def matrices(self) -> Along | None:
        return next((each for each in self.along if each.index == "matrix"), None)

    @property
    def lines_of_tiles(self) -> tuple[Along, ...]:
        """What is computed for rows and columns."""
        return tuple(each for each in self.along if each.index != "matrix")

    @property
    def places(self) -> tuple[Operand, ...]:
        """The operands that are numbers of rows, columns or matrices."""
        return tuple(operand for operand in self.operands if operand.along)

    @property
    def totals(self) -> tuple[str, ...]:
        return tuple(total.name for total in self.reductions if total.over == "tensors")

    @property
    def reads_scratch(self) -> bool:
        return any(operand.along == "matrix" for operand in self.operands)

    @property
    def given_lines(self) -> tuple[tuple[str, str], ...]:
        """What rows and columns are given."""
        return tuple(dict.fromkeys(given for each in self.lines_of_tiles for given in each.given))

    @property
    def known_in_tiles(self) -> Mapping[str, str]:
        """What tensors with rows and columns say of `axes`."""
        return {name: "true" for name, count in self.axes if count <= IN_MATRICES}

    @property
    def known_in_blocks(self) -> Mapping[str, str]:
        """What tensors say of `axes` that are taken in blocks: where matrices are taken in tiles, they are none."""
        return {name: "false" for name, count in self.axes if count >= IN_MATRICES and self.is_tiled}

    @property
    def reads_gradient(self) -> bool:
        return any(operand.member == "g" for operand in self.operands)

    @property
    def is_of_parameter(self) -> bool:
        """Whether an element's function must know the parameter's dtype T: slots are rounded to it."""
        return any("stored<T>" in line for line in self.lines)


@dataclass(frozen=True)
class PassBuilder:
    """Makes the passes of `program`. `helpers`: filled with the operations that the elements use."""

    program: Program
    switches: Switches
    dialect: Dialect
    helpers: set[str]

    def start(self) -> Pass | None:
        """The slots before the first step; None if there are none."""
        elements, numbers = (
            tuple(Store(slot.name, slot.init, slot.when) for slot in self.program.slots if slot.shape in shapes)
            for shapes in (("parameter",), COUNTS)
        )
        if not elements and not numbers:
            return None
        shared = {Ref(Kind.HYPER, hyper.name): f"C(row.{hyper.name})" for hyper in self.program.hypers}
        printer = ElementPrinter(self.switches.constant, self.helpers, shared)
        reads = {ref.name for store in elements for ref in references(store.value) if ref.kind is Kind.PARAMETER}
        types = {"row": f"{self.program.name}Row"}
        made = self._pass("start", "One element's slots before the first step.", elements, printer, reads, types)
        starts = tuple(
            (s.slot, printer.print(s.value), self.switches.any((s.guard,)), COUNTS[self.program.slot(s.slot).shape])
            for s in numbers
        )
        reads_row = any(ref.kind is Kind.HYPER for s in (*elements, *numbers) for ref in references(s.value))
        return replace(made, numbers=starts, reads_row=reads_row)

    def every_call(self) -> Pass | None:
        """What runs in the calls that do not update; None if every call does."""
        prelude = self._prelude()
        if self.program.update.predicate is None or not prelude:
            return None
        printer = ElementPrinter(self.switches.constant, self.helpers, {})
        doc = "One element, in a call that does not update."
        made = self._pass("every_call", doc, prelude, printer, _read(prelude), {"k": "Scalars<C>"})
        return replace(made, writes_back=made.reads_gradient)

    def updates(self) -> tuple[Pass, ...]:
        """The update: a pass for each phase."""
        split = phases(self.program, joined(self.program))
        shapes = Shapes(self.program, split)
        between = BetweenBuilder(self.program, split, self.switches, self.dialect, self.helpers, shapes)
        made = [self._update(number, phase, between) for number, phase in enumerate(split, 1)]
        last = max((index for index, each in enumerate(made) if each.reads_gradient), default=None)
        return tuple(replace(each, writes_back=index == last) for index, each in enumerate(made))

    def places(self) -> tuple[Guard, ...]:
        """When elements are told where they lie in their tensors."""
        return tuple(statement.guard for statement in self.program.update.statements if _is_random(statement))

    def _prelude(self) -> tuple[Statement, ...]:
        earlier = self.program.regions[:-1]
        if any(region.predicate is not None for region in earlier):
            raise UnsupportedOperation("more than one predicate", "c")
        return tuple(statement for region in earlier for statement in region.statements)

    def _update(self, number: int, phase: Phase, between: BetweenBuilder) -> Pass:
        count, shapes = len(between.phases), between.shapes
        suffix = f"_{number}" if count > 1 else ""
        doc = "One element, in a call that updates" + (f": pass {number} of {count}." if count > 1 else ".")
        printer = ElementPrinter(self.switches.constant, self.helpers, between.shared(phase))
        per_tensor = between.per_tensor(phase, suffix)
        types = {"k": "Scalars<C>", "n": f"{per_tensor.type}<C>" if per_tensor else ""}
        asked = products(self.program, phase)
        left = asked.statements if asked else phase.statements
        own = tuple(s for s in left if shapes.of_statement(s) == "element")
        at = [s in own for s in phase.statements]
        sums = tuple(
            replace(total, position=sum(at[: total.position]))
            for total in phase.sums if total.over != "axis" or shapes.of(total.argument) == "element"
        )  # fmt: skip
        check_elements(phase, (*own, *sums), shapes)
        elements = replace(phase, statements=own, sums=sums)
        made = self._pass(f"update{suffix}", doc, own, printer, set(phase.reads), types, elements)
        if asked:
            made = self._with_products(made, asked, printer, types)
        along = AlongBuilder(self.program, shapes, phase, self.switches, printer, self.dialect.float64)
        kept = frozenset(let.defines for each in between.phases[: number - 1] for let in each.before)
        lines = (along.made(index, f"{index}{suffix}", types, kept) for index in ("row", "column", "matrix"))
        return replace(
            made, per_row=between.per_row(phase, suffix), per_tensor=per_tensor,
            operands=(*made.operands, *self._of_matrices(phase, made, shapes)), along=tuple(filter(None, lines)),
        )  # fmt: skip

    def _with_products(self, made: Pass, asked: Products, printer: ElementPrinter, types: Mapping[str, str]) -> Pass:
        passes = {}
        for step in asked.steps:
            if isinstance(step, Elementwise):
                *before, last = step.statements
                statements = (*before, Let(step.name, last.value, last.guard, rebinds=step.name))
                doc = f"One element of a matrix `{step.name}`."
                each = self._pass(f"{made.name}_{step.name}", doc, statements, printer, _read(statements), types)
                passes[step.name] = replace(each, operands=(*each.operands, *_buffers(asked, each.reads, step.name)))
        condition = self.switches.of_tensor(asked.guard, "x.axes")
        known = self.switches.known_of_tensors(asked.guard)
        when = self.switches.constant(asked.guard)
        own = (*made.operands, *(replace(buffer, guard=when) for buffer in _buffers(asked, made.reads)))
        return replace(made, operands=own, products=matrices_of(asked, condition, known, passes))

    def _of_matrices(self, phase: Phase, made: Pass, shapes: Shapes) -> Iterable[Operand]:
        """The values of matrices that elements read."""
        for let in phase.before:
            if Ref(Kind.LET, let.defines) in shapes.of_matrices & made.reads:
                number, when = self.dialect.float64, self._condition(let.guard)
                yield Operand(local(let.defines), let.defines, number, when, True, False, "matrix")

    def _pass(
        self, name: str, doc: str, statements: tuple[Statement, ...], printer: ElementPrinter, reads: set[str],
        types: Mapping[str, str], phase: Phase | None = None,
    ) -> Pass:  # fmt: skip
        """`types`: of what elements may be given beside their operands."""
        sums = phase.sums if phase else ()
        lines = Lines(printer, self.switches.constant, self.dialect.float64).of(statements, sums)
        refs = frozenset(ref for part in (*statements, *sums) for ref in references_of(part))
        operands = tuple(self._operands(statements, reads, refs))
        asked = set(map(printer.given, refs))
        given = tuple((kind, variable) for variable, kind in types.items() if variable in asked)
        guards = [statement.guard for statement in (*statements, *sums)]
        guards += [g for s in (*statements, *sums) for g in guards_of(s.argument if isinstance(s, Sum) else s.value)]
        guards += [slot.when for slot in self.program.slots if any(slot.name == o.member for o in operands)]
        along = [tuple(total.name for total in sums if (total.over, total.axis) == ("axis", axis)) for axis in (-1, -2)]
        runs = phase.guards if phase else (ALWAYS,)
        switches = self.switches.names(*guards)
        return Pass(
            name, doc, given, switches, operands, lines, tuple(s.name for s in sums if s.over != "axis"),
            reductions=sums, condition=self.switches.any(runs), of_tensors=self._of_tensors(runs), guards=runs,
            row_sums=along[0], column_sums=along[1],
            axes=self.switches.asked_of_tensors(switches), reads=refs, is_random=any(map(_is_random, statements)),
        )  # fmt: skip

    def _operands(self, statements: tuple[Statement, ...], reads: set[str], refs: frozenset[Ref]) -> Iterable[Operand]:
        stores = {statement.slot for statement in statements if isinstance(statement, Store)}
        guards: dict[str, Guard] = {"w": ALWAYS, "g": ALWAYS}
        guards |= {slot.name: slot.when for slot in self.program.slots if slot.shape == "parameter"}
        inputs = {source.name: "T" for source in self.program.inputs if source.shape == "parameter"}
        narrow = {slot.name: "T" for slot in self.program.slots if slot.storage == "parameter"}
        types = {"w": "T", "g": "G", **inputs, **narrow}
        for name, guard in (guards | dict.fromkeys(inputs, ALWAYS)).items():
            if name in reads | stores:
                kind, when = types.get(name, "C"), self._condition(guard)
                yield Operand(local(name), name, kind, when, name in reads, name in stores)
        for slot in self.program.slots:
            if slot.shape in LINES and any(ref.name == slot.name for ref in refs):
                when, along = self._condition(slot.when), SHAPES[slot.shape]
                yield Operand(local(slot.name), slot.name, "C", when, True, False, along)

    def _of_tensors(self, guards: tuple[Guard, ...]) -> str:
        is_of_axes = len(guards) == 1 and before_tensors(guards[0]) != guards[0]
        return self.switches.constant(guards[0]) if is_of_axes else ""

    def _condition(self, guard: Guard) -> str:
        return "" if guard == ALWAYS else self.switches.constant(guard)


def _buffers(asked: Products, read: frozenset[Ref], made: str = "") -> Iterator[Operand]:
    """The buffers that are read, and the one that is `made`."""
    for name in asked.shapes:
        if name == made or Ref(Kind.LET, name) in read:
            yield Operand(local(name), name, "C", "", name != made, name == made, is_buffer=True)


def _is_random(statement: Statement) -> bool:
    """Whether it rounds by chance."""
    nodes = walk(statement.value)
    return any(isinstance(node, Op) and node.fn is Fn.STOCHASTICALLY_ROUNDED for node in nodes)


def _read(statements: tuple[Statement, ...]) -> set[str]:
    tensors = (Kind.BEFORE, Kind.PARAMETER, Kind.GRADIENT)
    return {ref.name for s in statements for ref in references(s.value) if ref.kind in tensors}
