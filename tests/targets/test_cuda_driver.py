"""Code for CUDA devices: where it is found, how it is made, and what is said where neither can be."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernels import rendered
from optloom.codegen.build import BuildRequest, build_for_devices
from optloom.codegen.targets.cuda import driver, nvrtc
from optloom.codegen.targets.cuda.driver import DeviceError
from optloom.codegen.targets.cuda.source import Choice, Source

CHOICE = Choice(0, "float32")


def has_compiler() -> bool:
    try:
        nvrtc.library()
    except nvrtc.NoCompiler:
        return False
    return True


with_nvrtc = pytest.mark.skipif(not has_compiler(), reason="no NVRTC")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """SGD's file, alone in its folder, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPTLOOM_KERNEL_PATH", raising=False)
    monkeypatch.delenv("OPTLOOM_COMPILE", raising=False)
    return Source(Path(rendered("sgd", "cuda", tmp_path)))


@with_nvrtc
def test_code_is_compiled_once(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: driver.code(source, CHOICE, 90), range(4)))
    assert len(made) == 1
    (file,) = (tmp_path / "cache" / "optloom" / "kernels").iterdir()
    assert {file.read_bytes()} == made
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    assert {driver.code(source, CHOICE, 90)} == made
    with pytest.raises(DeviceError, match=r"no kernels sgd-o0-g0-float32-float32 for sm_80 in .*OPTLOOM_COMPILE=0"):
        driver.code(source, CHOICE, 80)


def test_what_lies_beside_the_file_comes_first(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = source.path.parent / driver.file_name(source, CHOICE), tmp_path / "built"
    other.mkdir()
    monkeypatch.setenv("OPTLOOM_KERNEL_PATH", str(other))
    words = driver.digest(source).encode()
    (other / own.name).write_bytes(b"from the folder that is named " + words)
    assert driver.code(source, CHOICE, 90).startswith(b"from the folder")
    own.write_bytes(b"beside the file " + words)
    assert driver.code(source, CHOICE, 90).startswith(b"beside")
    own.write_bytes(b"of another version")
    with pytest.raises(DeviceError, match=r"sgd.*\.fatbin was built for another version of .*sgd\.cu"):
        driver.code(source, CHOICE, 90)


@with_nvrtc
def test_a_cache_that_cannot_be_written(source: Source, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DeviceError, match=r"the cache of kernels, .*, cannot be written: .*; set XDG_CACHE_HOME"):
        driver.code(source, CHOICE, 90)


@with_nvrtc
def test_a_compiler_that_fails(source: Source) -> None:
    with pytest.raises(
        DeviceError, match=r"(?s)sgd-.* cannot be compiled: NVRTC .* refused sgd\.cu for sm_90:.*float31"
    ):
        driver.code(source, Choice(0, "float31", "float32"), 90)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_a_fatbin_is_built_ahead_of_time(source: Source) -> None:
    request = BuildRequest(source.path)
    file, choice = build_for_devices(request), Choice(request.variant().options, "float32")
    assert driver.code(source, choice, 90) == driver.code(source, choice, 100) == file.read_bytes()
    source.path.write_text(source.text + "// edited\n")
    with pytest.raises(DeviceError, match="another version"):
        driver.code(Source(source.path), choice, 90)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a device")
def test_without_a_device_it_is_said() -> None:
    with pytest.raises(DeviceError, match=r"no CUDA driver|is there a GPU"):
        driver.library()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.cu"
    file.write_text("__global__ void other() {}")
    with pytest.raises(ValueError, match=r"other\.cu describes no interface"):
        print(Source(file).interface)
