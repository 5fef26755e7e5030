"""fused=True on the CPU: the bits of strict code, whatever happens to the tensors between steps; what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kernels import printed
from optloom.codegen.compiler import Settings, discover, render

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
SHAPES = [(), (0,), (3,), (5, 7), (4099,), (2, 4200)]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of a user's is found, and none that is built here stays."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("OPTLOOM_KERNEL_PATH", raising=False)
    monkeypatch.delenv("OPTLOOM_COMPILE", raising=False)


@pytest.fixture
def strict(rendered: Callable[..., Any]) -> Callable[[str], Any]:
    """The strict class of a rule, with its kernel beside it."""

    def load(name: str) -> Any:
        kind = rendered(name, "strict")
        place = Path(kind._file).with_suffix(".cpp")
        if not place.exists():
            place.write_text(render(discover()[name], "cpp")[f"cpp/{name}.cpp"])
        return kind

    return load


class Pair:
    """One optimizer that runs fused kernels and one that runs the formula in Python, in lockstep."""

    def __init__(self, kind: Any, shapes: Any = SHAPES, dtype: torch.dtype = torch.float32, **arguments: Any) -> None:
        torch.manual_seed(1)
        self.ws = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]
        self.others = [torch.nn.Parameter(w.detach().clone()) for w in self.ws]
        self.fused = kind(self.ws, fused=True, **arguments)
        self.plain = kind(self.others, fused=False, foreach=False, **arguments)

    def step(self, dtype: torch.dtype | None = None, without: tuple[int, ...] = ()) -> None:
        for index, (w, other) in enumerate(zip(self.ws, self.others, strict=True)):
            w.grad = None if index in without else torch.randn(w.shape).to(dtype or w.dtype)
            other.grad = None if w.grad is None else w.grad.to(other.dtype)
        before = [None if w.grad is None else w.grad.clone() for w in self.ws]
        self.fused.step()
        self.plain.step()
        self.assert_equal()
        for w, g in zip(self.ws, before, strict=True):
            assert g is None or torch.equal(w.grad, g)  # type: ignore[arg-type]

    def assert_equal(self) -> None:
        for w, other in zip(self.ws, self.others, strict=True):
            assert torch.equal(w, other)
            state, expected = self.fused.state[w], self.plain.state[other]
            assert state.keys() == expected.keys()
            for key, x in expected.items():
                assert x.equal(state[key]) if isinstance(x, torch.Tensor) else x == state[key], key


@pytest.mark.parametrize("name", printed("cpp"))
def test_the_bits_of_strict_code(name: str, strict: Callable[[str], Any]) -> None:
    pair = Pair(strict(name))
    for _ in range(3):
        pair.step()
    (plans,) = pair.fused._plans.values()
    assert plans.are_current(pair.fused)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64], ids=str)
def test_dtypes(dtype: torch.dtype, strict: Callable[[str], Any]) -> None:
    pair = Pair(strict("adam"), dtype=dtype, amsgrad=True)
    pair.step()
    pair.step()


def test_gradients_of_lower_precision(strict: Callable[[str], Any]) -> None:
    """A float32 parameter is its own master copy: its gradient may be of float16 or bfloat16."""
    kind = strict("adam")
    w, other = torch.nn.Parameter(torch.randn(4099)), torch.nn.Parameter(torch.zeros(4099))
    other.data.copy_(w)
    w.grad_dtype = torch.bfloat16
    fused, plain = kind([w], fused=True), kind([other], fused=False)
    for _ in range(2):
        w.grad = torch.randn(4099).bfloat16()
        other.grad = w.grad.float()
        fused.step()
        plain.step()
        assert torch.equal(w, other)


def test_options_and_groups(strict: Callable[[str], Any]) -> None:
    given = {"weight_decay": 0.01, "decoupled_weight_decay": False, "gradient_accumulation_steps": 2}
    pair = Pair(strict("adam"), maximize=True, amsgrad=True, **given)
    for _ in range(5):
        pair.step()
    pair.fused.param_groups[0]["lr"] = pair.plain.param_groups[0]["lr"] = 0.1
    for optimizer, dtype in ((pair.fused, torch.float64), (pair.plain, torch.float64)):
        torch.manual_seed(5)
        w = torch.nn.Parameter(torch.randn(11, dtype=dtype))
        (pair.ws if optimizer is pair.fused else pair.others).append(w)
        optimizer.add_param_group({"params": [w], "lr": torch.tensor(0.2), **given})
    for _ in range(3):
        pair.step()


def test_what_the_kernel_does_not_have_is_refused(one: Any) -> None:
    """A kernel that was generated with fewer stages than the class."""
    text = render(discover()["sgd"], "cpp", settings=Settings(stages=()))["cpp/sgd.cpp"]
    Path(one._file).with_suffix(".cpp").write_text(text)
    one.step()
    optimizer = type(one)(one.param_groups[0]["params"], fused=True, gradient_accumulation_steps=2)
    assert "gradient_accumulation_steps=2: the fused kernel" in _step_error(optimizer)


def test_whatever_happens_between_steps(strict: Callable[[str], Any]) -> None:
    pair = Pair(strict("nadam"))
    pair.step()
    pair.step(without=(2, 4))  # a row of its own from here on
    pair.step()
    for w, other in zip(pair.ws, pair.others, strict=True):  # the same tensors at other places
        w.data, other.data = w.detach() + 1, other.detach() + 1
    pair.step()
    for optimizer, ws in ((pair.fused, pair.ws), (pair.plain, pair.others)):
        state = optimizer.state[ws[3]]
        state["exp_avg"] = state["exp_avg"] * 2  # another tensor
        optimizer.state[ws[4]]["exp_avg_sq"].data = torch.full((4099,), 3.0)  # other memory
        optimizer.state[ws[5]]["step"].fill_(40)
    pair.step()
    saved, other = pair.fused.state_dict(), pair.plain.state_dict()
    pair.step()
    pair.fused.load_state_dict(saved)
    pair.plain.load_state_dict(other)
    pair.step()
    del pair.fused.state[pair.ws[0]], pair.plain.state[pair.others[0]]
    pair.step()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_stochastic_rounding(dtype: torch.dtype, strict: Callable[[str], Any]) -> None:
    pair = Pair(strict("adam"), dtype=dtype, stochastic_rounding=True)
    for _ in range(3):
        pair.step()


def test_options_that_change_between_steps_are_asked_for_anew(strict: Callable[[str], Any]) -> None:
    """Rounding by chance counts rows as they follow each other, which a transposed parameter does not lie like."""
    ws = [torch.nn.Parameter(torch.linspace(1, 2, 35).reshape(5, 7).to(torch.bfloat16).t()) for _ in range(2)]
    fused, plain = (strict("adam")([w], lr=1e-4, fused=is_fused) for w, is_fused in zip(ws, (True, False), strict=True))
    for by_chance in (False, True, True, False):
        for w, optimizer in zip(ws, (fused, plain), strict=True):
            w.grad = torch.ones_like(w)
            optimizer.param_groups[0]["stochastic_rounding"] = by_chance
            optimizer.step()
        assert torch.equal(*ws)
    fused.param_groups[0]["differentiable"] = True
    assert "fused=True cannot be together with differentiable=True" in _step_error(fused)


def test_parts_of_parameters_are_not_rounded_by_chance(strict: Callable[[str], Any]) -> None:
    """Where the elements of a shard lie in their tensor, kernels are not told."""
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    w.grad = torch.ones_like(w)
    optimizer = strict("sgd")([w], fused=True, stochastic_rounding=True)
    w.to_local = lambda: w  # type: ignore[method-assign]
    assert "parameter 0 is distributed, and the step counts elements of whole tensors" in _step_error(optimizer)


@pytest.mark.parametrize("by_chance", [False, True])
def test_strides(by_chance: bool, strict: Callable[[str], Any]) -> None:
    """Transposed, channels last, with gaps; gradients that lie otherwise than their parameters, or are expanded.
    Elements that are rounded by chance are counted row by row, however they lie."""
    kind, options = strict("adam"), {"stochastic_rounding": True} if by_chance else {}
    made = [
        torch.randn(5, 7).t(), torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.randn(9, 8)[:, ::2], torch.randn(6, 6),
    ]  # fmt: skip
    made = [x.to(torch.bfloat16 if by_chance else x.dtype) for x in made]
    ws, others = (
        [torch.nn.Parameter(x.detach()) for x in (made if i == 0 else [y.clone() for y in made])] for i in (0, 1)
    )
    fused, plain = kind(ws, fused=True, **options), kind(others, fused=False, **options)
    for _ in range(3):
        for w, other in zip(ws, others, strict=True):
            w.grad = torch.randn(w.shape[::-1]).permute(*range(w.dim() - 1, -1, -1)).to(w.dtype)
            other.grad = w.grad.clone()
        ws[3].grad = torch.randn(1, 6).to(ws[3].dtype).expand(6, 6)
        others[3].grad = ws[3].grad.clone()
        fused.step()
        plain.step()
        for w, other in zip(ws, others, strict=True):
            assert torch.equal(w, other)
            assert torch.equal(fused.state[w]["exp_avg"], plain.state[other]["exp_avg"])


@pytest.mark.parametrize("writes_back", [True, False])
def test_a_gradient_scaler(strict: Callable[[str], Any], writes_back: bool) -> None:
    kind = strict("adam")
    w, other = (torch.nn.Parameter(torch.linspace(-1, 1, 4099)) for _ in range(2))
    fused, plain = kind([w], fused=True, write_back_grad=writes_back), kind([other], fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, float("inf"), 2.0):
        fused.zero_grad()
        scaler.scale((w * w).sum() * factor).backward()
        scaled = w.grad.clone()  # type: ignore[union-attr]
        scaler.step(fused)
        inverse = 1 / scaler.get_scale()
        if factor != float("inf"):
            other.grad = scaled * inverse
            plain.step()
            assert torch.equal(w.grad, other.grad if writes_back else scaled)  # type: ignore[arg-type]
        scaler.update()
        assert torch.equal(w, other)
    assert fused.state[w]["step"] == 2


def test_torch_compile(strict: Callable[[str], Any]) -> None:
    """One graph, and the same bits; the numbers of a schedule change no graph."""
    kind = strict("nadam")
    ws, others = ([torch.nn.Parameter(torch.linspace(-1, 1, n)) for n in (3, 4099)] for _ in range(2))
    fused, plain = (kind(each, lr=torch.tensor(0.1), fused=flag) for each, flag in ((ws, True), (others, False)))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    step = torch.compile(fused.step, fullgraph=True, backend="eager")
    for n in range(4):
        for w, other in zip(ws, others, strict=True):
            w.grad = torch.randn(w.shape)
            other.grad = w.grad.clone()
        for optimizer in (fused, plain):
            optimizer.param_groups[0]["lr"].fill_(0.1 / (n + 1))
        step()
        plain.step()
    assert all(torch.equal(w, other) for w, other in zip(ws, others, strict=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


def test_nothing_of_a_parameters_size_is_allocated(strict: Callable[[str], Any]) -> None:
    pair = Pair(strict("adam"), shapes=[(50_000,)])
    pair.step()
    pair.ws[0].grad = torch.randn(50_000)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        pair.fused.step()
    assert all(abs(event.cpu_memory_usage) < 1000 for event in profile.events())


def _step_error(optimizer: Any, error: type[Exception] = ValueError) -> str:
    before = [w.detach().clone() for group in optimizer.param_groups for w in group["params"]]
    with pytest.raises(error) as caught:
        optimizer.step()
    after = [w for group in optimizer.param_groups for w in group["params"]]
    assert all(w.is_meta or torch.equal(w, kept) for w, kept in zip(after, before, strict=True))
    return str(caught.value)


@pytest.mark.parametrize("is_peers", [False, True])
def test_rows_columns_and_matrices(is_peers: bool, strict: Callable[[str], Any]) -> None:
    """Parameters with rows beside others, several matrices, none at all; one whose rows do not follow each other."""
    shapes = [(3, 5), (2, 40, 7), (0, 3), (3, 0), (300,), (9, 8)]
    pair = Pair(strict("adafactor"), shapes, eps=(1e-2, 1e-3), epsilon_as_floor=is_peers)
    for w in (pair.ws[5], pair.others[5]):
        w.data = w.data.t().contiguous().t()
    for _ in range(3):
        pair.step()
    for empty in pair.ws[2:4]:
        assert not any(pair.fused.state[empty][slot].any() for slot in ("row_var", "col_var"))  # NaN is true


def test_elements_that_read_rows_and_columns_in_one_pass_with_what_is_taken_along_them(
    strict: Callable[[str], Any],
) -> None:
    """Also in calls that only accumulate: those go by elements alone."""
    pair = Pair(strict("sm3"), [(3, 5), (2, 70, 300), (0, 3), (3, 0), (300,)], gradient_accumulation_steps=2)
    for _ in range(6):
        pair.step()
    assert all(pair.fused.state[w]["r"].any() for w in pair.ws[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_pytorchs_own(dtype: torch.dtype, strict: Callable[[str], Any]) -> None:
    """Matrices of several shapes beside what has none, also in calls that only accumulate."""
    shapes = [(3, 5), (70, 40), (300,), (2, 3, 4), (0, 3), (3, 0)]
    pair = Pair(strict("muon"), shapes, dtype=dtype, gradient_accumulation_steps=2)
    for _ in range(4):
        pair.step()


def test_an_operator_for_each_set_of_slots(strict: Callable[[str], Any]) -> None:
    """What torch.compile calls, here without it."""
    pair = Pair(strict("adafactor"), [(3, 5), (300,)])
    pair.step()
    for w, other in zip(pair.ws, pair.others, strict=True):
        w.grad = torch.full_like(w, 0.5)
        other.grad = w.grad.clone()
    group = pair.fused.param_groups[0]
    parts = [(w, w.grad, pair.fused.state[w]) for w in pair.ws]
    with torch.no_grad():
        pair.fused._fused.step_compiled(pair.fused, group, parts)
    pair.plain.step()
    pair.assert_equal()


def test_a_sum_over_tensors_with_other_slots_is_refused(strict: Callable[[str], Any]) -> None:
    pair = Pair(strict("adafactor"), [(3, 5), (300,)], global_clipnorm=1.0)
    for w in pair.ws:
        w.grad = torch.ones_like(w)
    assert "spans param groups, dtypes or slots here; pass fused=False" in _step_error(pair.fused)
    pair = Pair(strict("adafactor"), [(3, 5), (5, 7)], global_clipnorm=1.0)
    pair.step()


def test_bad_tensors_are_refused_before_anything_is_written(strict: Callable[[str], Any]) -> None:
    kind = strict("adam")

    def parameters(count: int = 2) -> list[torch.nn.Parameter]:
        ws = [torch.nn.Parameter(torch.randn(6, 6)) for _ in range(count)]
        for w in ws:
            w.grad = torch.randn(6, 6)
        return ws

    ws = parameters()
    ws[1].data = ws[0].data[:, 0]
    ws[1].grad = torch.randn(6)
    assert "overlap in memory" in _step_error(kind(ws, fused=True))
    ws = parameters()
    ws[1].data = torch.randn(3, 3)
    assert "the gradient of parameter 1 has shape (6, 6), not (3, 3)" in _step_error(kind(ws, fused=True))
    ws = parameters()
    ws[1].grad = ws[1].grad.to_sparse()  # type: ignore[union-attr]
    assert "the gradient of parameter 1 is sparse" in _step_error(kind(ws, fused=True))
    ws = parameters()
    ws[1] = torch.nn.Parameter(torch.empty(3, device="meta"))
    ws[1].grad = torch.empty(3, device="meta")
    assert "parameter 1 is on meta" in _step_error(kind(ws, fused=True))
    ws = parameters()
    ws[0].grad_dtype = None
    ws[0].grad = torch.randn(6, 6).double()
    assert "the gradient of parameter 0 has dtype torch.float64" in _step_error(kind(ws, fused=True))
    named = kind([("first", parameters()[0]), ("second", ws[0])], fused=True)
    assert "the gradient of parameter 'second' has dtype" in _step_error(named)


@pytest.fixture
def one(rendered: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An optimizer with a gradient whose kernel was never built; the cache is empty."""
    from optloom.codegen.conformance.protocol import load_module

    for file in Path(rendered("sgd")._file).parent.iterdir():
        if file.suffix in (".py", ".cpp"):
            (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "sgd.cpp").write_text(render(discover()["sgd"], "cpp")["cpp/sgd.cpp"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    w = torch.nn.Parameter(torch.ones(3))
    w.grad = torch.ones(3)
    return load_module(str(tmp_path / "sgd.py")).SGD([w], lr=0.5, fused=True)


def test_a_kernel_that_may_not_be_built(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    message = _step_error(one, RuntimeError)
    assert "no fused kernel sgd-o" in message
    assert "OPTLOOM_COMPILE=0 forbids to build it" in message


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("exit 1", "the compiler failed on"),
        ("echo 'cannot write: No space left on device' >&2; exit 1", "No space left on device"),
        (None, "the C++ compiler /nowhere/c++ cannot be run: No such file"),
    ],
)
def test_a_compiler_that_fails(
    one: Any, compiler: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler is not None:
        (tmp_path / "c++").write_text(f"#!/bin/sh\n{compiler}\n")
        (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "c++") if compiler else "/nowhere/c++")
    assert message in _step_error(one, RuntimeError)
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_a_cache_that_cannot_be_written(one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    said = _step_error(one, RuntimeError)
    assert "cannot be written: Not a directory; name another (the cache by XDG_CACHE_HOME)" in said


def test_where_kernels_are_found(one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cache, then in OPTLOOM_KERNEL_PATH, then beside the file; one of another version is refused."""
    one.step()
    (built,) = (tmp_path / "cache" / "optloom" / "kernels").glob("sgd-*.so")
    variant, _, _ = built.stem.rpartition("-")
    monkeypatch.setenv("OPTLOOM_COMPILE", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(built, elsewhere / f"{variant}-x86-64.so")
    assert "no fused kernel" in _step_error(type(one)(one.param_groups[0]["params"], fused=True), RuntimeError)
    monkeypatch.setenv("OPTLOOM_KERNEL_PATH", f"{tmp_path}/absent{os.pathsep}{elsewhere}")
    ws = one.param_groups[0]["params"]
    before = ws[0].detach().clone()
    quiet = type(one)(ws, lr=0.5)  # fused=None: it is there, so it is used
    quiet.step()
    assert quiet._plans
    assert torch.equal(ws[0], before - 0.5)
    source = tmp_path / "sgd.cpp"
    source.write_text(source.read_text() + "\n")
    sys.modules[type(one)._fused._kernels.__name__].source_of.cache_clear()
    stale = type(one)(ws, fused=True)
    assert "was built for another version" in _step_error(stale, RuntimeError)
    quiet = type(one)(ws, lr=0.5)
    quiet.step()
    assert not quiet.__dict__.get("_plans")


def test_none_builds_nothing(one: Any, tmp_path: Path) -> None:
    optimizer = type(one)(one.param_groups[0]["params"])
    optimizer.step()
    assert not (tmp_path / "cache").exists()


def test_sixteen_processes_build_it_at_once(one: Any, tmp_path: Path) -> None:
    """One of them compiles; all load a whole library."""
    (tmp_path / "c++").write_text(f'#!/bin/sh\necho >> {tmp_path}/compiled\nexec g++ "$@"\n')
    (tmp_path / "c++").chmod(0o755)
    kernels = type(one)._fused._kernels
    script = f"""
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("_kernels", {kernels.__file__!r})
kernels = sys.modules["_kernels"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernels)
print(kernels.library(kernels.source_of({type(one)._file!r}), kernels.Variant(0, "float32", "float32")).file)
"""
    environment = os.environ | {"CXX": str(tmp_path / "c++")}
    command = [sys.executable, "-S", "-c", script]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    found = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 16
    assert len(found) == 1
    assert (tmp_path / "compiled").read_text() == "\n"
