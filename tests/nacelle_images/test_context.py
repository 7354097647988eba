import shutil
import zipfile
from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_images.context import PROJECT_FILES, image_tag, write_context
from nacelle_images.model import SUMS, model_tag, write_model_context
from nacelle_images.settings import CHECKOUT
from nacelle_images.spec import IMAGES, ON_DEMAND, OPERATOR, RUNTIME, with_tensorrt


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the operator's and the runtime's image are made of."""
    root = tmp_path / "checkout"
    files = [*PROJECT_FILES]
    for spec in (OPERATOR, with_tensorrt(RUNTIME)):
        files += [spec.dockerfile, *spec.locks]
        for package in spec.packages:
            caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / package, root / package, ignore=caches, dirs_exist_ok=True)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / name, root / name)
    return root


def tags(checkout: Path, base: str = "base") -> tuple[str, str]:
    return image_tag(OPERATOR, checkout, base), image_tag(RUNTIME, checkout, base)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_what_python_leaves_behind_changes_no_tag(checkout):
    before = tags(checkout)
    cache = checkout / "engine/nacelle_engine/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "new.pyc").write_bytes(b"")
    assert tags(checkout) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "operator_changes", "runtime_changes"),
    [
        ("operator/nacelle_operator/plan.py", True, False),
        ("runtime_image/nacelle_runtime/loop.py", False, True),
        ("engine/nacelle_engine/limits.py", True, True),
        ("requirements/runtime.txt", False, True),
        ("operator/Dockerfile", True, False),
        ("README.md", False, False),
    ],
)
def test_a_change_gives_new_tags_to_the_images_that_hold_it(
    checkout, changed, operator_changes, runtime_changes
):
    before = tags(checkout)
    append(checkout / changed, "\n# changed\n")
    after = tags(checkout)
    assert (before[0] != after[0], before[1] != after[1]) == (operator_changes, runtime_changes)


def test_another_base_gives_other_tags(checkout):
    one, other = tags(checkout, "one"), tags(checkout, "other")
    assert one[0] != other[0]
    assert one[1] != other[1]


@pytest.mark.slow
@pytest.mark.parametrize("spec", (*IMAGES, *ON_DEMAND), ids=lambda spec: spec.name)
def test_the_wheel_of_an_image_holds_its_packages_and_no_others(spec, tmp_path):
    context = write_context(spec, CHECKOUT, tmp_path / "context")
    (wheel,) = (context.folder / "dist").glob("nacelle-*.whl")
    folders = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = {Path(package).name for package in spec.packages}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == packages


def test_tensorrt_and_its_wheels_give_other_tags(checkout):
    plain, asked = image_tag(RUNTIME, checkout, "base"), with_tensorrt(RUNTIME)
    (checkout / "requirements/wheels").mkdir()
    (checkout / "requirements/wheels/README").write_text("Not of the image.")
    seen = [image_tag(asked, checkout, "base")]
    for content in (b"one", b"other"):
        (checkout / "requirements/wheels/libs-1-py3-none-any.whl").write_bytes(content)
        seen.append(image_tag(asked, checkout, "base"))
    assert len({plain, *seen}) == 4
    assert image_tag(RUNTIME, checkout, "base") == plain
    append(checkout / "requirements/tensorrt.txt", "\n# changed\n")
    assert image_tag(asked, checkout, "base") != seen[-1]
    assert image_tag(RUNTIME, checkout, "base") == plain


@pytest.mark.slow
def test_the_wheels_that_are_given_stand_in_the_context(checkout, tmp_path):
    wheels = checkout / "requirements/wheels"
    wheels.mkdir()
    (wheels / "libs-1-py3-none-any.whl").write_bytes(b"libs")
    context = write_context(with_tensorrt(RUNTIME), checkout, tmp_path / "context")
    names = {str(path.relative_to(context.folder)) for path in context.folder.rglob("*.*")}
    assert names - {path for path in names if path.startswith("dist")} == {
        "requirements/torch.txt",
        "requirements/wheel-stub.txt",
        "requirements/tensorrt.txt",
        "requirements/runtime.txt",
        "requirements/wheels/libs-1-py3-none-any.whl",
    }
    plain = write_context(RUNTIME, checkout, tmp_path / "plain")
    assert not (plain.folder / "requirements/wheels").exists()


def test_a_models_tag_is_that_of_its_digests(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / SUMS).write_text('{"source": "a", "files": {}}')
    context = write_model_context(checkpoint, tmp_path / "context")
    names = sorted(path.name for path in (context.folder / "model").iterdir())
    assert names == [SUMS, "config.json"]
    before = model_tag(checkpoint)
    (checkpoint / SUMS).write_text('{"source": "b", "files": {}}')
    assert model_tag(checkpoint) != before


def test_a_file_that_only_its_owner_may_read_is_readable_in_a_models_image(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(b"weights")
    weights.chmod(0o600)
    context = write_model_context(checkpoint, tmp_path / "context")
    copied = context.folder / "model" / weights.name
    assert copied.read_bytes() == b"weights"
    assert (copied.stat().st_mode & 0o777, weights.stat().st_mode & 0o777) == (0o644, 0o600)


def test_a_folder_that_was_not_fetched_is_refused_by_name(tmp_path):
    with pytest.raises(ClusterError, match=r"SHA256SUMS\.json is missing: fetch the model"):
        model_tag(tmp_path)
