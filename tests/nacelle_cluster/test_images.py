"""Layouts are read back: every digest, size and file is what the format says."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nacelle_cluster.images import ImageContent, Layout, write_layout


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def verified(layout: Layout, descriptor: dict) -> bytes:
    data = layout.blob(descriptor["digest"]).read_bytes()
    assert (digest(data), len(data)) == (descriptor["digest"], descriptor["size"])
    return data


def read_back(layout: Layout) -> tuple[dict, tarfile.TarFile]:
    """The image's config and its layer, all digests checked on the way."""
    index = json.loads((layout.folder / "index.json").read_text())
    manifest = json.loads(verified(layout, index["manifests"][0]))
    config = json.loads(verified(layout, manifest["config"]))
    (descriptor,) = manifest["layers"]
    data = verified(layout, descriptor)
    if descriptor["mediaType"].endswith("+gzip"):
        data = gzip.decompress(data)
    assert config["rootfs"]["diff_ids"] == [digest(data)]
    assert len(config["history"]) == len(manifest["layers"])
    return config, tarfile.open(fileobj=io.BytesIO(data))


@pytest.mark.parametrize("compress", [True, False])
def test_an_image_holds_its_files_and_its_config(tmp_path, compress):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    model = tmp_path / "model"
    (model / "part").mkdir(parents=True)
    (model / "part" / "config.json").write_text("{}")
    link = tmp_path / "link"
    link.symlink_to("program")
    files = {"bin/program": program, "bin/sh": link, "models/one": model}
    content = ImageContent(files, {"Entrypoint": ["/bin/program"]}, compress=compress)
    config, layer = read_back(write_layout(content, tmp_path / "layout"))
    assert config["config"] == {"Entrypoint": ["/bin/program"]}
    members = {member.name: member for member in layer}
    assert members["bin"].isdir() and members["bin"].mode == 0o755
    assert members["bin/program"].mode == 0o755
    assert members["bin/sh"].linkname == "program"
    assert layer.extractfile("models/one/part/config.json").read() == b"{}"
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in members.values()} == {(0, 0, "", 0)}


def test_equal_content_has_equal_digests_wherever_it_lies(tmp_path):
    layouts = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text("same")
        layouts.append(write_layout(ImageContent({"d": folder}, {}), tmp_path / f"{name}.oci"))
    assert layouts[0].manifest_digest == layouts[1].manifest_digest


def test_a_failed_write_leaves_the_old_layout_whole(tmp_path):
    (tmp_path / "file").write_text("old")
    layout = write_layout(ImageContent({"file": tmp_path / "file"}, {}), tmp_path / "layout")
    before = layout.manifest_digest
    with pytest.raises(FileNotFoundError):
        write_layout(ImageContent({"file": tmp_path / "absent"}, {}), layout.folder)
    assert layout.manifest_digest == before
    read_back(layout)


def test_the_archive_names_the_image_and_carries_every_blob(tmp_path):
    (tmp_path / "file").write_text("x")
    layout = write_layout(ImageContent({"file": tmp_path / "file"}, {}), tmp_path / "layout")
    stream = io.BytesIO()
    layout.write_archive(stream, "localhost/x:1")
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        index = json.load(archive.extractfile("index.json"))
        names = set(archive.getnames())
    (described,) = index["manifests"]
    assert described["annotations"] == {"io.containerd.image.name": "localhost/x:1"}
    blobs = {p.name for p in (layout.folder / "blobs/sha256").iterdir()}
    assert names == {"index.json", "oci-layout"} | {f"blobs/sha256/{blob}" for blob in blobs}


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=3000), compress=st.booleans())
def test_any_content_survives(tmp_path_factory, data, compress):
    folder = tmp_path_factory.mktemp("image")
    (folder / "file").write_bytes(data)
    content = ImageContent({"a/b/file": folder / "file"}, {}, compress=compress)
    _config, layer = read_back(write_layout(content, folder / "layout"))
    assert layer.extractfile("a/b/file").read() == data
