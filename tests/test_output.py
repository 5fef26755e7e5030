"""Writing: whole or not at all, only what changes, never over an edit; and telling the states of files apart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from optloom.codegen import output
from optloom.codegen.output import MANIFEST, EditedFiles, Output, OutputError, State, compare, write

FILES = {"a/one.py": Output("one = 1\n", "s1"), "b/two.cu": Output("two\n", "s2")}
NEWER = {"a/one.py": Output("one = 11\n", "s1x"), "b/two.cu": Output("two\ntwo\n", "s2x")}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def states(folder: Path, files: dict[str, Output], **selection: bool) -> dict[str, State]:
    return {finding.path: finding.state for finding in compare(folder, files, **selection)}


def test_writes_into_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert states(folder, FILES) == dict.fromkeys(FILES, State.MISSING)
    report = write(folder, FILES)
    assert report.written == ("a/one.py", "b/two.cu")
    assert set(contents(folder)) == {*FILES, MANIFEST}
    assert (folder / "a/one.py").read_text() == "one = 1\n"
    assert compare(folder, FILES) == ()


def test_touches_only_what_changes(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    before = {path: os.stat(tmp_path / path).st_mtime_ns for path in (*FILES, MANIFEST)}
    assert write(tmp_path, FILES).unchanged == tuple(FILES)
    assert {path: os.stat(tmp_path / path).st_mtime_ns for path in before} == before
    report = write(tmp_path, {**FILES, "b/two.cu": Output("new\n", "s")})
    assert (report.written, report.unchanged) == (("b/two.cu",), ("a/one.py",))
    assert os.stat(tmp_path / "a/one.py").st_mtime_ns == before["a/one.py"]


def test_manifest_is_deterministic_and_names_digests(tmp_path: Path) -> None:
    write(tmp_path / "x", FILES)
    write(tmp_path / "y", dict(reversed(FILES.items())))
    text = (tmp_path / "x" / MANIFEST).read_text()
    assert text == (tmp_path / "y" / MANIFEST).read_text()
    entry = json.loads(text)["files"]["a/one.py"]
    assert entry == {"sha256": output.digest("one = 1\n"), "source": "s1"}


def test_states_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "c/gone.py": Output("gone\n", "s"), "d/lost.py": Output("lost\n", "s")})
    (tmp_path / "b/two.cu").write_text("mine\n")
    (tmp_path / "d/lost.py").unlink()
    wanted = {"a/one.py": NEWER["a/one.py"], "b/two.cu": FILES["b/two.cu"], "d/lost.py": Output("lost\n", "s")}
    assert states(tmp_path, wanted) == {
        "a/one.py": State.STALE,
        "b/two.cu": State.EDITED,
        "c/gone.py": State.LEFT_OVER,
        "d/lost.py": State.MISSING,
    }


def test_diff_leads_from_the_disk_to_what_is_generated(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "a/one.py").write_text("one = 2")
    (finding,) = compare(tmp_path, FILES)
    assert finding.diff.splitlines() == [
        "--- a/one.py (on disk)", "+++ a/one.py (generated)", "@@ -1 +1 @@", "-one = 2", "+one = 1",
    ]  # fmt: skip


def test_source_alone_changed_is_a_stale_manifest(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    files = {**FILES, "a/one.py": Output("one = 1\n", "another source")}
    assert states(tmp_path, files) == {MANIFEST: State.STALE}
    assert write(tmp_path, files).written == ()
    assert compare(tmp_path, files) == ()


def test_edited_files_stop_everything(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "b/two.cu").write_text("mine\n")
    before = contents(tmp_path)
    with pytest.raises(EditedFiles, match=r"b/two\.cu.*\n.*--force") as caught:
        write(tmp_path, NEWER)
    assert [finding.path for finding in caught.value.findings] == ["b/two.cu"]
    assert contents(tmp_path) == before
    write(tmp_path, NEWER, force=True)
    assert (tmp_path / "b/two.cu").read_text() == "two\ntwo\n"


def test_a_file_that_we_did_not_write_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.py").write_text("somebody's\n")
    with pytest.raises(EditedFiles):
        write(tmp_path, FILES)
    assert contents(tmp_path) == {"a/one.py": b"somebody's\n"}


def test_an_edit_that_equals_the_output_is_none(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "a/one.py").write_text(NEWER["a/one.py"].text)
    assert write(tmp_path, NEWER).written == ("b/two.cu",)
    assert compare(tmp_path, NEWER) == ()


def test_left_over_files_go_unless_edited(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    only = {"a/one.py": FILES["a/one.py"]}
    (tmp_path / "stranger.txt").write_text("not ours")
    (tmp_path / "b/two.cu").write_text("mine\n")
    with pytest.raises(EditedFiles):
        write(tmp_path, only)
    (tmp_path / "b/two.cu").write_text("two\n")
    assert write(tmp_path, only).removed == ("b/two.cu",)
    assert set(contents(tmp_path)) == {"a/one.py", MANIFEST, "stranger.txt"}


def test_a_part_leaves_the_rest_alone(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    part = {"a/one.py": NEWER["a/one.py"]}
    assert states(tmp_path, part, whole=False) == {"a/one.py": State.STALE}
    write(tmp_path, part, whole=False)
    assert (tmp_path / "b/two.cu").read_text() == "two\n"
    assert compare(tmp_path, {**FILES, **part}) == ()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("succeed", range(4))
def test_failure_in_the_middle_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, succeed: int
) -> None:
    """Files to replace, one to remove and new ones in new folders: whichever step fails, nothing is changed."""
    write(tmp_path, {**FILES, "c/gone.py": Output("gone\n", "s")})
    before = contents(tmp_path)
    left = succeed
    swap = output._swap

    def failing(*arguments: object) -> None:
        nonlocal left
        if left == 0:
            raise error
        left -= 1
        swap(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(output, "_swap", failing)
    with pytest.raises(type(error)):
        write(tmp_path, {**NEWER, "new/deep/er.py": Output("x\n", "s")})
    assert contents(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_failure_while_staging_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(output, "_write_durably", full)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "new", FILES)
    assert not (tmp_path / "new").exists()


def test_killed_half_way_mends_itself(tmp_path: Path) -> None:
    """Files in place, but the manifest still the old one: as after a power cut."""
    write(tmp_path, FILES)
    (tmp_path / "a/one.py").write_text(NEWER["a/one.py"].text)
    write(tmp_path, NEWER)
    assert compare(tmp_path, NEWER) == ()


@pytest.mark.parametrize("path", ["../outside.py", "/etc/passwd", "a/../../b", "a\\b", MANIFEST])
def test_no_path_leads_outside(tmp_path: Path, path: str) -> None:
    with pytest.raises(OutputError, match="no path inside"):
        write(tmp_path / "in", {path: Output("x", "s")})
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": {"a": 1}}', '{"format": 1, "files": {"../a": {}}}'],
)
def test_a_broken_manifest_is_a_message(tmp_path: Path, text: str) -> None:
    write(tmp_path, FILES)
    (tmp_path / MANIFEST).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="cannot be read"):
        write(tmp_path, NEWER)
    assert contents(tmp_path) == before


def test_a_newer_manifest_is_a_message(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format": 2, "files": {}}')
    with pytest.raises(OutputError, match="use a newer optloom"):
        write(tmp_path, FILES)


def test_a_manifest_cannot_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "precious").write_text("x")
    entry = {"sha256": output.digest("x"), "source": "s"}
    (tmp_path / "in" / MANIFEST).write_text(json.dumps({"format": 1, "files": {"../precious": entry}}))
    with pytest.raises(OutputError, match="no path inside"):
        write(tmp_path / "in", FILES)
    assert (tmp_path / "precious").exists()


def test_bytes_that_are_no_text_are_an_edit(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "a/one.py").write_bytes(b"one = 1\n\xff\xfe")
    (finding,) = compare(tmp_path, FILES)
    assert finding.state is State.EDITED
    finding.diff.encode()


def test_line_endings_are_an_edit(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "a/one.py").write_bytes(b"one = 1\r\n")
    assert states(tmp_path, FILES) == {"a/one.py": State.EDITED}


def test_a_folder_in_the_way_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "b" / "two.cu").mkdir(parents=True)
    with pytest.raises(OSError, match=r"two\.cu"):
        write(tmp_path, FILES)
    assert contents(tmp_path) == {}


def test_a_folder_that_takes_nothing_is_named() -> None:
    """Not what was tried in it."""
    with pytest.raises(OSError) as failed:
        output.replace_files(Path("/proc"), {"file": "text"}, ())
    assert failed.value.filename == "/proc"
