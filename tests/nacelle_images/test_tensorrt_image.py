"""The runtime's own Dockerfile by the real buildah, small: no torch in it, and TensorRT's libraries
are a wheel of a line. All else of TensorRT's locks is fetched as it stands."""

import base64
import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.lock import locked
from nacelle_images.buildah import Buildah, DiskNeeds
from nacelle_images.settings import CHECKOUT, read_image_settings
from nacelle_images.spec import RUNTIME, with_tensorrt
from nacelle_images.tool import BuildOrder

pytestmark = pytest.mark.e2e
LIBRARIES = "tensorrt_cu12_libs-10.6.0.post1-py2.py3-none-manylinux_2_17_x86_64.whl"
# COPY and RUN, of the packages and of the code.
OWN_LAYERS = 4
FOUND = """
import importlib.util, json
names = ("tensorrt_bindings", "tensorrt_libs", "wheel_stub", "nacelle_cli")
found = [name for name in names if importlib.util.find_spec(name)]
print(json.dumps([found, __import__("tensorrt_libs").ORIGIN if "tensorrt_libs" in found else ""]))
"""


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """buildah over the kept base; the images made with it are removed."""
    folder = read_image_settings().folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", "building images", seconds=3600):
        tool = Buildah(folder, None, plain_http=True, disk=DiskNeeds(0, 0))
        yield tool
        names = tool._buildah(["images", "--format", "{{.Name}}:{{.Tag}}"]).split()
        for name in names:
            if name.startswith("localhost/nacelle-tensorrt-test:"):
                tool.remove(name)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What a build by hand has, torch and the runtime's own packages left out."""
    folder = tmp_path / "context"
    for name in (RUNTIME.dockerfile, *with_tensorrt(RUNTIME).locks):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("" if name in RUNTIME.locks else (CHECKOUT / name).read_text())
    wheel(folder / "dist/nacelle-0.0.1-py3-none-any.whl", {"nacelle_cli/__init__.py": ""})
    return folder


def wheel(path: Path, files: dict[str, str]) -> None:
    """A wheel that holds some files."""
    name, version, *_ = path.name.split("-")
    info = f"{name}-{version}.dist-info"
    tag = path.name.removeprefix(f"{name}-{version}-").removesuffix(".whl")
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    lines = ["Wheel-Version: 1.0", "Generator: test", "Root-Is-Purelib: false", f"Tag: {tag}", ""]
    files = files | {f"{info}/METADATA": head, f"{info}/WHEEL": "\n".join(lines)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in files.items():
            archive.writestr(place, text)
        record = [f"{place},sha256={_digest(text)},{len(text)}" for place, text in files.items()]
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]))


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def libraries(folder: Path, origin: str) -> None:
    wheel(folder / LIBRARIES, {"tensorrt_libs/__init__.py": f"ORIGIN = {origin!r}\n"})


def built(buildah: Buildah, context: Path, name: str, **arguments: str) -> tuple[list[str], object]:
    """The image's layers, and what its Python finds."""
    reference = f"localhost/nacelle-tensorrt-test:{name}"
    buildah.build(BuildOrder(context, context / RUNTIME.dockerfile, reference, arguments))
    layers = buildah._buildah(["inspect", "--type", "image", "--format", _LAYERS, reference])
    return layers.split(), json.loads(buildah.run(reference, ["python3", "-c", FOUND]))


_LAYERS = "{{range .OCIv1.RootFS.DiffIDs}}{{.}} {{end}}"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """NVIDIA's index, with the libraries alone."""
    place = tmp_path / "index/tensorrt-cu12-libs"
    libraries(place, "the index")
    digest = hashlib.sha256((place / LIBRARIES).read_bytes()).hexdigest()
    (place / "index.html").write_text(f'<a href="{LIBRARIES}#sha256={digest}">{LIBRARIES}</a>')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_without_the_argument_the_image_is_as_it_was(buildah, context):
    layers, found = built(buildah, context, "plain")
    assert found == [["nacelle_cli"], ""]
    # The Dockerfile without TensorRT's stage gives the very same layers.
    dockerfile = context / RUNTIME.dockerfile
    before, rest = dockerfile.read_text().split("FROM torch AS torch-tensorrt\n")
    dockerfile.write_text(before + rest.split("FROM torch${TENSORRT:+-tensorrt}\n")[1])
    assert built(buildah, context, "stripped") == (layers, found)


def test_the_libraries_are_fetched_from_the_index_that_is_named(buildah, context, index):
    plain, _ = built(buildah, context, "plain")
    arguments = {"TENSORRT": "1", "WHEEL_STUB_PIP_INDEX_URL": index}
    layers, found = built(buildah, context, "fetched", **arguments)
    assert found == [["tensorrt_bindings", "tensorrt_libs", "nacelle_cli"], "the index"]
    # Down to torch the layers are shared; the locks and what they name come next.
    shared = len(plain) - OWN_LAYERS
    assert layers[:shared] == plain[:shared]
    assert len(layers) == len(plain) + 2


def test_wheels_that_are_given_need_no_index(buildah, context):
    lock = context / "requirements/tensorrt.txt"
    lock.write_text(f"tensorrt-cu12-libs==10.6.0.post1 --hash=sha256:{'0' * 64}\n")
    libraries(context / "requirements/wheels", "the context")
    nowhere = {"TENSORRT": "1", "WHEEL_STUB_PIP_INDEX_URL": "http://127.0.0.1:1/"}
    _, found = built(buildah, context, "given", **nowhere)
    assert found == [["tensorrt_libs", "nacelle_cli"], "the context"]


def test_what_the_given_wheels_lack_is_named(buildah, context):
    libraries(context / "requirements/wheels", "the context")
    with pytest.raises(
        ClusterError, match="No matching distribution found for nvidia-cuda-runtime"
    ):
        built(buildah, context, "lacking", TENSORRT="1")


def test_another_answer_is_refused_by_name(buildah, context):
    with pytest.raises(ClusterError, match="TENSORRT=yes: it is 1, or not given"):
        built(buildah, context, "unclear", TENSORRT="yes")
