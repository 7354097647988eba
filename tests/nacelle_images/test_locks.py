import re
import tomllib

import pytest

from nacelle_engine.abi import TENSORRT_VERSION, TORCH_VERSION, TRITON_VERSION
from nacelle_images.settings import CHECKOUT

LOCKS = (
    "operator", "builder", "gpu-builder", "runtime", "torch", "tensorrt", "wheel-stub", "dev",
)  # fmt: skip

NVIDIAS = ("tensorrt", "wheel-stub")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, set[str]]:
    """Package -> the versions pinned, one for each range of Python versions."""
    text = (CHECKOUT / f"requirements/{lock}.txt").read_text()
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(canonical(name), set()).add(version)
    return found


def declared(extra: str) -> set[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"][extra]
    return {canonical(re.match(r"[A-Za-z0-9_.-]+", line)[0]) for line in lines}


@pytest.mark.parametrize("extra", ["operator", "builder", "gpu-builder", "runtime", "dev"])
def test_a_lock_pins_all_that_its_extra_declares(extra):
    assert declared(extra) <= pins(extra).keys()


@pytest.mark.parametrize("extra", ["operator", "builder", "runtime"])
def test_the_development_lock_covers_every_extra(extra):
    assert declared(extra) <= pins("dev").keys()


@pytest.mark.parametrize("lock", ["operator", "builder", "runtime", "torch"])
def test_images_hold_the_versions_that_the_tests_ran_with(lock):
    dev = pins("dev")
    assert all(versions <= dev[name] for name, versions in pins(lock).items())


def test_the_compiler_for_gpus_is_no_part_of_the_tests_and_agrees_with_them():
    ours, dev = pins("gpu-builder"), pins("dev")
    assert not {"flashinfer-python", "nvidia-cuda-nvcc"} & dev.keys()
    assert all(versions <= dev[name] for name, versions in ours.items() if name in dev)


def test_tensorrts_lock_pins_what_its_extra_names_at_the_abis_version():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    named = project["optional-dependencies"]["tensorrt"]
    listed = (CHECKOUT / "requirements/tensorrt.in").read_text().splitlines()
    assert [line for line in listed if not line.startswith("#")] == named
    locked = pins("tensorrt")
    for line in named:
        name, version = line.split("==")
        assert locked[name] == {version}
        assert version.startswith(f"{TENSORRT_VERSION}.")
    assert locked.keys() - {line.split("==")[0] for line in named} == {"nvidia-cuda-runtime-cu12"}


def test_nothing_of_tensorrts_stands_in_another_lock():
    ours = pins("tensorrt").keys() | pins("wheel-stub").keys()
    assert not any(ours & pins(lock).keys() for lock in LOCKS if lock not in NVIDIAS)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_hash_and_none_names_a_host(lock):
    text = (CHECKOUT / f"requirements/{lock}.txt").read_text()
    for entry in re.split(r"\n(?=\S)", text):
        if "==" in entry:
            assert "--hash=sha256:" in entry
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra-index|find-links|trusted)", text, re.MULTILINE)


def test_the_abi_is_what_is_locked():
    assert pins("torch")["torch"] == pins("dev")["torch"] == {TORCH_VERSION}
    assert pins("dev")["triton"] == {TRITON_VERSION}


@pytest.mark.parametrize("lock", ["operator", "runtime", "torch"])
def test_what_serves_installs_no_triton(lock):
    assert "triton" not in pins(lock)


def test_the_builder_compiles_a_gpus_kernels_with_the_abis_triton():
    assert pins("builder")["triton"] == {TRITON_VERSION}


def test_the_torch_layer_needs_nothing_that_later_layers_change():
    shared, builder, runtime = pins("torch"), pins("builder"), pins("runtime")
    for name, versions in shared.items():
        assert builder[name] == runtime[name] == versions
