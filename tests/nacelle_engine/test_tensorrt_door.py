"""TensorRT has one door."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOOR = "engine/nacelle_engine/program/tensorrt_api.py"


def test_only_one_file_names_tensorrts_module():
    packages = ("engine", "builder_image", "runtime_image", "operator", "cli", "bench")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    naming = [path for path in files if "tensorrt_bindings" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in naming] == [DOOR]
