"""Vendoring: what is written, how edits and upstream changes are told apart, and merged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optloom.codegen import vendor
from optloom.codegen.api import UnknownName
from optloom.codegen.cli import main
from optloom.codegen.discovery import targets
from optloom.codegen.output import EditedFiles, digest
from optloom.codegen.vendor import LOCK, Problem, Request, VendorError

from .conftest import FILE, contents, upstream

Make = Callable[..., Request]
STAGES = ("skip", "rounding", "master", "ema", "unscale", "accumulate", "clip", "decay")
"""All of them, as a lock names them."""


def problems(**selection: object) -> dict[str, tuple[Problem, ...]]:
    return {standing.path: standing.problems for standing in vendor.examine(**selection)}  # type: ignore[arg-type]


def test_add_writes_the_file_its_package_and_the_lock(project: Path, request_tiny: Make) -> None:
    before = contents(project)
    done = vendor.add(request_tiny())
    assert done.written == (FILE, "src/mine/optim/__init__.py")
    assert set(contents(project)) - set(before) == {*done.written, LOCK}
    assert problems() == {FILE: ()}


def test_the_header(project: Path, vendored: Path) -> None:
    lines = vendored.read_text().splitlines(keepends=True)
    assert lines[0] == "# SPDX-License-Identifier: MIT-0\n"
    assert "tiny.py" in lines[1]
    assert lines[2].strip("# \n") == "optloom vendor add tiny.py --target numpy --to src/mine/optim"
    assert lines[3].rpartition(" ")[2].strip() == digest("".join(lines[4:]))
    assert not re.search(r"make generate|^\s*(from|import) optloom", "".join(lines), re.MULTILINE)
    assert str(project) not in "".join(lines)


def test_the_lock_holds_what_is_needed_to_render_again(project: Path, vendored: Path) -> None:
    lock = json.loads((project / LOCK).read_text())
    assert lock["schema"] == 1
    assert lock["entries"] == [
        {
            "rule": "tiny.py", "target": "numpy", "to": "src/mine/optim", "numerics": "strict",
            "stages": [*STAGES], "dialect": "", "package": None,
            "kernels": False, "slot_dtype": "compute", "files": ["tiny.py"],
        }
    ]  # fmt: skip
    known = lock["files"][FILE]
    assert known["generated"] == known["written"] == digest(vendored.read_text())
    assert vendor.read_lock(project).files[FILE].base == vendored.read_text()


def test_adding_again_touches_nothing(project: Path, vendored: Path, request_tiny: Make) -> None:
    before = {path: os.stat(project / path).st_mtime_ns for path in contents(project)}
    assert vendor.add(request_tiny()).written == ()
    assert {path: os.stat(project / path).st_mtime_ns for path in contents(project)} == before


def test_adding_with_other_settings_replaces_the_entry(project: Path, vendored: Path, request_tiny: Make) -> None:
    assert "weight_decay" in vendored.read_text()
    assert vendor.add(request_tiny(stages=())).written == (FILE,)
    assert [entry.stages for entry in vendor.read_lock(project).entries] == [()]
    assert problems() == {FILE: ()}


def test_stages_that_are_not_asked_for_leave_no_trace(project: Path, request_tiny: Make) -> None:
    vendor.add(request_tiny(stages=("decay",)))
    text = (project / FILE).read_text()
    assert "weight_decay" in text
    assert "accumul" not in text
    assert "--stages decay" in text
    vendor.add(request_tiny(stages=()))
    text = (project / FILE).read_text()
    assert not re.search(r"weight_decay|accumul", text)
    assert "--stages none" in text


def test_a_dialect_is_bound_and_leaves_no_trace(project: Path, request_tiny: Make) -> None:
    vendor.add(request_tiny())
    plain = (project / FILE).read_text()
    vendor.add(request_tiny(dialect="torch.optim.SGD"))
    bound = (project / FILE).read_text()
    assert [entry.dialect for entry in vendor.read_lock(project).entries] == ["torch.optim.SGD"]
    assert "decoupled_weight_decay" not in bound
    assert "w = w - k." in plain
    assert re.search(r"g = g \+ .*weight_decay", bound)
    assert problems() == {FILE: ()}


def test_a_peers_package_names_its_dialect(project: Path) -> None:
    done = vendor.add(Request("adam", "pytorch", Path("optim"), dialect="torch"))
    assert done.entry.dialect == "torch.optim.Adam"


def test_a_package_of_several_peers_is_not_enough(project: Path, request_tiny: Make) -> None:
    with pytest.raises(VendorError, match=r"several peers in torch: say which, torch\.optim\.SGD or "):
        vendor.add(request_tiny(dialect="torch"))


def test_defaults_are_resolved_when_a_rule_is_added(project: Path, request_tiny: Make) -> None:
    entry = vendor.add(request_tiny(target="pytorch")).entry
    assert (entry.numerics, entry.stages) == ("fast", STAGES)


@pytest.mark.parametrize(
    ("package", "line"),
    [(None, "from . import _support"), ("mine.optim", "from mine.optim import _support"), ("", "import _support")],
)
def test_how_the_support_module_is_imported(project: Path, package: str | None, line: str) -> None:
    vendor.add(Request("adam", "pytorch", Path("src/mine/optim"), package=package))
    folder = project / "src/mine/optim"
    assert line in (folder / "adam.py").read_text().splitlines()
    assert (folder / "__init__.py").exists() == (package != "")


def test_an_init_file_is_the_users(project: Path, request_tiny: Make) -> None:
    (project / "src/mine/optim").mkdir()
    init = project / "src/mine/optim/__init__.py"
    init.write_text("from .tiny import Tiny\n")
    vendor.add(request_tiny())
    vendor.update()
    assert init.read_text() == "from .tiny import Tiny\n"
    assert problems() == {FILE: ()}


def test_a_file_of_the_users_is_not_overwritten(project: Path, request_tiny: Make) -> None:
    (project / FILE).parent.mkdir()
    (project / FILE).write_text("mine\n")
    before = contents(project)
    with pytest.raises(EditedFiles, match="not written by optloom"):
        vendor.add(request_tiny())
    assert contents(project) == before
    assert FILE in vendor.add(request_tiny(), force=True).written
    assert problems() == {FILE: ()}


def test_an_edit_is_not_overwritten_by_add(project: Path, vendored: Path, request_tiny: Make) -> None:
    generated = vendored.read_text()
    vendored.write_text(generated + "# mine\n")
    upstream(project)
    before = contents(project)
    with pytest.raises(EditedFiles):
        vendor.add(request_tiny())
    assert contents(project) == before
    vendor.add(request_tiny(), force=True)
    assert "# mine" not in vendored.read_text()
    assert "running mean." in vendored.read_text()


def test_edits_and_upstream_changes_are_shown_apart(project: Path, vendored: Path) -> None:
    vendored.write_text(vendored.read_text() + "# mine\n")
    upstream(project)
    (standing,) = vendor.examine()
    assert standing.problems == (Problem.EDITED, Problem.STALE)
    assert "+# mine" in standing.edits.splitlines()
    assert "mean" not in standing.edits
    assert re.search(r"^\+.*running mean\.", standing.upstream, re.MULTILINE)
    assert "mine\n" not in standing.upstream.replace("src/mine", "")


def test_update_keeps_edits_and_takes_what_changed_upstream(project: Path, vendored: Path) -> None:
    vendored.write_text(vendored.read_text() + "# mine\n")
    upstream(project)
    done = vendor.update()
    assert (done.merged, done.written, done.conflicts) == ((FILE,), (), {})
    assert vendored.read_text().endswith("# mine\n")
    assert "running mean." in vendored.read_text()
    assert problems() == {FILE: ()}
    assert "+# mine" in vendor.examine()[0].edits.splitlines()


def test_known_edits_pass_and_later_ones_do_not(project: Path, vendored: Path) -> None:
    vendored.write_text(vendored.read_text() + "# mine\n")
    assert problems() == {FILE: (Problem.EDITED,)}
    assert vendor.update().unchanged == (FILE,)
    assert problems() == {FILE: ()}
    vendored.write_text(vendored.read_text() + "# and more\n")
    assert problems() == {FILE: (Problem.EDITED,)}


def test_taking_an_edit_back_is_no_edit(project: Path, vendored: Path) -> None:
    generated = vendored.read_text()
    vendored.write_text(generated + "# mine\n")
    vendor.update()
    vendored.write_text(generated)
    assert problems() == {FILE: ()}


def test_update_without_edits_writes_what_is_generated(project: Path, vendored: Path, request_tiny: Make) -> None:
    upstream(project)
    assert problems() == {FILE: (Problem.STALE,)}
    assert vendor.update().written == (FILE,)
    fresh = vendored.read_text()
    vendor.add(request_tiny(to=Path("src/mine/other")))
    other = (project / "src/mine/other/tiny.py").read_text()
    assert fresh.splitlines()[4:] == other.splitlines()[4:]


def test_an_update_with_nothing_to_do_touches_nothing(project: Path, vendored: Path) -> None:
    before = {path: os.stat(project / path).st_mtime_ns for path in contents(project)}
    assert vendor.update().unchanged == (FILE,)
    assert {path: os.stat(project / path).st_mtime_ns for path in contents(project)} == before


def test_conflicts_are_left_between_markers_until_they_are_resolved(project: Path, vendored: Path) -> None:
    vendored.write_text(vendored.read_text().replace("along a moving average.", "in my own way."))
    upstream(project)
    done = vendor.update()
    assert done.conflicts == {FILE: 1}
    text = vendored.read_text()
    assert re.search(r"<<<<<<< yours\n.*my own way.*\n=======\n.*running mean.*\n>>>>>>> optloom\n", text, re.DOTALL)
    assert problems() == {FILE: (Problem.CONFLICT,)}
    before = contents(project)
    with pytest.raises(VendorError, match="resolve them first"):
        vendor.update()
    assert contents(project) == before
    vendored.write_text(re.sub(r"<{7}.*?\n(.*?)={7}\n.*?>{7} optloom\n", r"\1", text, flags=re.DOTALL))
    vendor.update()
    assert problems() == {FILE: ()}
    assert "my own way" in vendored.read_text()


def test_a_deleted_file_is_told_and_written_again(
    project: Path, vendored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated = vendored.read_text()
    vendored.unlink()
    assert problems() == {FILE: (Problem.MISSING,)}
    with pytest.raises(SystemExit):
        main(["vendor", "diff"])
    assert f"missing    {FILE}" in capsys.readouterr().out
    assert vendor.update().written == (FILE,)
    assert vendored.read_text() == generated


def test_two_rules_share_a_support_module(project: Path) -> None:
    support = project / "optim/_support.py"
    vendor.add(Request("adam", "pytorch", Path("optim")))
    support.write_text(support.read_text() + "# mine\n")
    done = vendor.add(Request("sgd", "pytorch", Path("optim")))
    assert done.unchanged == ("optim/_support.py",)
    assert support.read_text().endswith("# mine\n")
    assert vendor.read_lock(project).owners("optim/_support.py")
    assert set(problems(rules=["sgd"])) == {"optim/_support.py", "optim/adam.py", "optim/sgd.py"}


def test_a_support_module_of_another_version_is_updated_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optloom.codegen.vendor import entry

    def older_text(*arguments: Any) -> dict[str, str]:
        texts = render(*arguments)
        return {path: text + "\n\nOLDER = 1\n" if "_support" in path else text for path, text in texts.items()}

    render = entry.render
    with monkeypatch.context() as older:
        older.setattr(entry, "render", older_text)
        vendor.add(Request("adam", "pytorch", Path("optim")))
    with pytest.raises(VendorError, match="bring adam up to date first"):
        vendor.add(Request("sgd", "pytorch", Path("optim")))
    vendor.update()
    vendor.add(Request("sgd", "pytorch", Path("optim")))
    assert not any(problems().values())


def test_two_targets_do_not_share_a_folder(project: Path, vendored: Path, request_tiny: Make) -> None:
    with pytest.raises(VendorError, match="target numpy already: vendor to another folder"):
        vendor.add(request_tiny(target="pytorch"))


def test_files_that_nothing_makes_any_more(project: Path, request_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without edits is removed, one with edits stays, and is the user's."""
    from optloom.codegen.vendor import entry

    render = entry.render
    more = {f"numpy/_{name}.py": "# SPDX-License-Identifier: MIT-0\nx = 1\n" for name in ("plain", "edited")}
    with monkeypatch.context() as older:
        older.setattr(entry, "render", lambda *a: {**render(*a), **more})
        vendor.add(request_tiny())
    folder = project / "src/mine/optim"
    (folder / "_edited.py").write_text("mine\n")
    done = vendor.update()
    assert (done.removed, done.left) == (("src/mine/optim/_plain.py",), ("src/mine/optim/_edited.py",))
    assert not (folder / "_plain.py").exists()
    assert (folder / "_edited.py").read_text() == "mine\n"
    assert set(vendor.read_lock(project).files) == {FILE}


def test_a_file_that_is_new_upstream_does_not_take_the_place_of_the_users(
    project: Path, vendored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optloom.codegen.vendor import entry

    render, new = entry.render, {"numpy/_new.py": "# SPDX-License-Identifier: MIT-0\nx = 1\n"}
    monkeypatch.setattr(entry, "render", lambda *a: {**render(*a), **new})
    (vendored.parent / "_new.py").write_text("mine\n")
    before = contents(project)
    with pytest.raises(EditedFiles):
        vendor.update()
    assert contents(project) == before
    (vendored.parent / "_new.py").unlink()
    assert vendor.update().written == ("src/mine/optim/_new.py",)
    assert not any(problems().values())


def test_a_checkout_with_other_line_endings_is_no_edit(project: Path, vendored: Path) -> None:
    vendored.write_bytes(vendored.read_bytes().replace(b"\n", b"\r\n"))
    (project / LOCK).write_bytes((project / LOCK).read_bytes().replace(b"\n", b"\r\n"))
    assert problems() == {FILE: ()}


def test_the_project_is_found_upwards(project: Path, vendored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(vendored.parent)
    assert vendor.find_project() == project
    assert problems() == {FILE: ()}


def test_only_named_rules(project: Path, vendored: Path) -> None:
    vendor.add(Request("sgd", "numpy", Path("other")))
    assert set(problems(rules=["sgd"])) == {"other/sgd.py"}
    assert set(problems(rules=["./tiny.py"])) == {FILE}
    with pytest.raises(UnknownName, match=r"did you mean sgd"):
        vendor.examine(["sgdd"])


def test_kernel_files_are_vendored_by_themselves(project: Path) -> None:
    done = vendor.add(Request("sgd", "cpp", Path("kernels"), kernels=True))
    assert done.written == ("kernels/sgd.cpp",)
    head = (project / "kernels/sgd.cpp").read_text().splitlines()
    assert head[0] == "// SPDX-License-Identifier: MIT-0"
    assert head[2] == "//     optloom vendor add sgd --target cpp --to kernels"


def test_slots_of_the_parameters_dtype_are_locked_shown_and_kept(project: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["vendor", "add", "sgd", "--target", "numpy", "--to", "narrow", "--slot-dtype", "parameter"])
    assert not left.value.code
    file = project / "narrow/sgd.py"
    assert "slots.m = np.zeros(w.shape, w.dtype)" in file.read_text()
    assert "--to narrow --slot-dtype parameter" in file.read_text().splitlines()[2]
    lock = json.loads((project / LOCK).read_text())
    assert lock["entries"][0]["slot_dtype"] == "parameter"
    assert vendor.update().unchanged and set(problems().values()) == {()}

    lock["entries"][0]["slot_dtype"] = "compute"
    (project / LOCK).write_text(json.dumps(lock))
    assert problems()["narrow/sgd.py"] == (Problem.STALE,)
    assert vendor.update().written == ("narrow/sgd.py",)
    assert "slots.m = np.zeros(w.shape, dtype)" in file.read_text()


def test_a_lock_that_says_nothing_of_the_slots_dtype_is_read(project: Path, vendored: Path) -> None:
    lock = json.loads((project / LOCK).read_text())
    del lock["entries"][0]["slot_dtype"]
    (project / LOCK).write_text(json.dumps(lock))
    assert problems() == {FILE: ()}
    lock["entries"][0]["slot_dtype"] = "half"
    (project / LOCK).write_text(json.dumps(lock))
    with pytest.raises(VendorError, match="slot_dtype is 'half'"):
        vendor.examine()


def test_a_target_without_fused_steps_has_no_kernels_to_vendor(project: Path) -> None:
    with pytest.raises(VendorError, match="--kernels: not implemented yet for target numpy"):
        vendor.add(Request("adam", "numpy", Path("optim"), kernels=True))


def test_kernels_that_a_class_would_refuse_are_not_vendored(project: Path) -> None:
    request = Request("adam", "pytorch", Path("optim"), kernels=True, slot_dtype="parameter")
    with pytest.raises(VendorError, match="--slot-dtype parameter: not implemented yet for target pytorch"):
        vendor.add(request)
    assert not (project / "optim").exists()


@pytest.mark.parametrize("name", [name for name, target in targets().items() if hasattr(target, "kernels")])
def test_kernels_come_beside_the_class_where_they_are_asked_for(name: str, project: Path) -> None:
    kernels = targets()[name].kernels  # type: ignore[attr-defined]
    plain = vendor.add(Request("adam", name, Path("plain"))).entry
    fused = vendor.add(Request("adam", name, Path("fused"), kernels=True)).entry
    assert set(kernels.support).isdisjoint(plain.files)
    assert set(fused.files) == {*plain.files, *kernels.support, *(f for f in fused.files if f.startswith("adam."))}
    assert len([file for file in fused.files if file.startswith("adam.")]) == 1 + len(kernels.targets)
    head = (project / "fused" / "adam.py").read_text().splitlines()
    assert head[2] == f"#     optloom vendor add adam --target {name} --to fused --kernels"
    assert not any(problems().values())
    again = vendor.add(Request("adam", name, Path("fused")))
    assert set(again.entry.files) == set(plain.files)
    assert not (project / "fused" / kernels.support[0]).exists()
    assert not (project / "optim").exists()
