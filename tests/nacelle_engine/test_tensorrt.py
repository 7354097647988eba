"""TensorRT's door: what is refused where it is missing, another version, or says that it failed."""

import sys
import types

import pytest

from nacelle_engine.abi import ABI, TENSORRT_VERSION, abi_of
from nacelle_engine.errors import AbiMismatch, CompileFailed, CorruptBundle, OutOfMemory
from nacelle_engine.program import plans, tensorrt_api, tensorrt_log
from nacelle_engine.program.launch import Binding, PlanFile, PlanLaunch
from nacelle_engine.program.tensorrt_failure import failure

INSTALL = (
    "install it with: pip install 'nacelle[tensorrt]' (TensorRT 10.6.0); an image "
    "holds it that is built with --build-arg TENSORRT=1"
)
EXIT = PlanFile(name="exit", file="plans/exit.plan", workspace_bytes=0)


def module(monkeypatch, version=f"{TENSORRT_VERSION}.post1", **members):
    """A module that stands where TensorRT's would."""
    made = types.SimpleNamespace(__version__=version, **members)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", made)
    return made


def test_an_engines_abi_names_tensorrts_version():
    assert abi_of("native") == ABI
    assert abi_of("tensorrt") == f"{ABI}-tensorrt10.6.0"


def test_where_it_is_not_installed_it_says_how_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    with pytest.raises(AbiMismatch) as refused:
        tensorrt_api.tensorrt()
    assert str(refused.value) == f"backend tensorrt: TensorRT is not installed here; {INSTALL}"


def test_another_version_is_refused(monkeypatch):
    module(monkeypatch, "10.15.1.29")
    with pytest.raises(AbiMismatch) as refused:
        tensorrt_api.tensorrt()
    assert str(refused.value) == (
        "backend tensorrt: TensorRT 10.15.1 is installed here, and plans are compiled for 10.6.0 "
        f"alone; {INSTALL}"
    )


def test_a_library_that_cannot_be_loaded_is_named(monkeypatch):
    def broken(name):
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(tensorrt_api.importlib, "import_module", broken)
    with pytest.raises(AbiMismatch, match=r"a library of TensorRT is missing: libnvinfer\.so\.10"):
        tensorrt_api.tensorrt()


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (
            "createInferBuilder: Error Code 6: API Usage Error (Unable to load library: "
            "libnvinfer_builder_resource.so.10.6.0: cannot open shared object file)",
            AbiMismatch,
            "compiling: TensorRT's library libnvinfer_builder_resource.so.10.6.0 is missing or "
            "cannot be loaded: its installation is incomplete",
        ),
        (
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (The engine plan file is "
            "not compatible with this version of TensorRT, expecting library version 10.6.0.26 got "
            "10.5.0.18, please rebuild.)",
            AbiMismatch,
            "compiling: the plan was made by TensorRT 10.5.0.18, this is 10.6.0.26: rebuild the "
            "engine",
        ),
        (
            "ERROR: 1: [defaultAllocator.cpp::allocate::31] Cuda Runtime (out of memory)",
            OutOfMemory,
            "compiling: TensorRT ran out of memory: ERROR: 1: [defaultAllocator.cpp::allocate::31] "
            "Cuda Runtime (out of memory)",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
            "implementation for node {ForeignNode[t0 cast...t44 cast]}.)",
            CompileFailed,
            "compiling: TensorRT has no implementation for the node {ForeignNode[t0 cast...t44 "
            "cast]}.)",
        ),
        (
            "terminate called: CUDA initialization failure with error: 35",
            CompileFailed,
            "compiling: TensorRT failed: terminate called: CUDA initialization failure with "
            "error: 35",
        ),
    ],
)
def test_a_line_of_its_log_becomes_one_error(line, error, message):
    found = failure("compiling", ["WARNING: something else", line] if error else [line])
    if "terminate" in line:
        found = failure("compiling", [line])
    assert type(found) is error
    assert str(found) == message


def test_no_line_is_an_error_too():
    assert str(failure("compiling", [])) == (
        "compiling: TensorRT failed: it left no line in its log"
    )


class Logger:
    """TensorRT's, which Python classes are made of."""

    Severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)


class Context:
    def __init__(self, calls, runs):
        self.calls, self.runs = calls, runs

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def execute_async_v3(self, stream):
        self.calls.append(("execute_async_v3", stream))
        return self.runs


class Engine:
    names = ("x", "attention", "down", "output")
    num_io_tensors = 4

    def __init__(self, calls, runs=True):
        self._calls, self._runs = calls, runs

    def get_tensor_name(self, number):
        return self.names[number]

    def create_execution_context(self, strategy):
        return Context(self._calls, self._runs)


def opened(monkeypatch, rank, engine):
    class Runtime:
        def __init__(self, log):
            pass

        def deserialize_cuda_engine(self, data):
            return engine if data == b"a plan" else None

    strategies = types.SimpleNamespace(USER_MANAGED="user")
    module(
        monkeypatch,
        ILogger=Logger,
        Runtime=Runtime,
        ExecutionContextAllocationStrategy=strategies,
    )
    monkeypatch.setattr(Logger, "__init__", lambda self: None, raising=False)
    (rank / "plans").mkdir()
    (rank / EXIT.file).write_bytes(b"a plan")
    return plans.open_plans(rank, [EXIT])


@pytest.fixture
def call():
    torch = pytest.importorskip("torch")
    tensors = {name: torch.zeros(8, 4) for name in ("x", "attention")}
    weights = {"down": torch.zeros(4, 4)}
    bindings = {name: Binding(source="buffer", name=name) for name in tensors}
    launch = PlanLaunch(
        plan="exit",
        profile=1,
        inputs=bindings,
        weights={"down": Binding(source="weight", name="down")},
        output=Binding(source="stream", name="out"),
    )
    return launch, tensors, weights, torch.zeros(8, 4), 7


def test_without_plans_tensorrt_is_not_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    assert plans.open_plans(tmp_path, []) is None


def test_a_missing_plan_is_named(monkeypatch, tmp_path):
    module(monkeypatch)
    with pytest.raises(CorruptBundle, match=r"plans/exit\.plan is missing"):
        plans.open_plans(tmp_path, [EXIT])


def test_a_call_tells_what_changed_and_no_more(monkeypatch, tmp_path, call):
    calls = []
    made = opened(monkeypatch, tmp_path, Engine(calls))
    run = made.call(*call)
    assert ("set_optimization_profile_async", 1, 7) in calls
    calls.clear()
    run(5)
    names = [one[0] for one in calls]
    assert names == 2 * ["set_input_shape"] + 4 * ["set_tensor_address"] + ["execute_async_v3"]
    assert calls[0] == ("set_input_shape", "x", (5, 4))
    calls.clear()
    run(5)
    assert calls == [("execute_async_v3", 7)]
    # Another layer's weights, in the same context.
    launch, inputs, weights, out, stream = call
    other = made.call(launch, inputs, {"down": weights["down"].clone()}, out, stream)
    calls.clear()
    other(5)
    assert [one[:2] for one in calls[:-1]] == [("set_tensor_address", "down")]


def test_a_truncated_plan_is_a_corrupt_bundle(monkeypatch, tmp_path, call):
    made = opened(monkeypatch, tmp_path, Engine([]))
    (tmp_path / EXIT.file).write_bytes(b"a pl")
    with pytest.raises(CorruptBundle, match=r"opening .*plans/exit\.plan: TensorRT failed"):
        made.call(*call)


def test_a_plan_that_takes_other_tensors_is_a_corrupt_bundle(monkeypatch, tmp_path, call):
    engine = Engine([])
    engine.names = ("x", "attention", "up", "output")
    made = opened(monkeypatch, tmp_path, engine)
    with pytest.raises(CorruptBundle, match=r"takes \['attention', 'output', 'up', 'x'\]"):
        made.call(*call)


def test_a_call_that_tensorrt_refuses_is_an_error(monkeypatch, tmp_path, call):
    made = opened(monkeypatch, tmp_path, Engine([], runs=False))
    with pytest.raises(RuntimeError, match="plan exit"):
        made.call(*call)(3)


def test_its_log_is_kept_from_warnings_on(monkeypatch):
    module(monkeypatch, ILogger=Logger)
    Logger.Severity.WARNING = types.SimpleNamespace(name="WARNING")
    lines = []
    log = tensorrt_log.log_to(lines.append)
    log.log(Logger.Severity.WARNING, "slow")
    log.log("INFO", "fine")
    assert lines == ["WARNING: slow"]
