"""The real buildah on a tiny image; with the end-to-end tests, as it needs root and may install."""

from dataclasses import replace
from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_images.buildah import Buildah, DiskNeeds
from nacelle_images.tool import BuildOrder

NAME = "localhost/nacelle-test:1"


@pytest.fixture
def order(tmp_path: Path) -> BuildOrder:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    (context / "file").write_text("content")
    return BuildOrder(context, context / "Dockerfile", NAME)


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    folder = tmp_path / "images"
    folder.mkdir()
    return Buildah(folder, "scratch", plain_http=True, disk=DiskNeeds(to_keep_layers=0, to_build=0))


def images(buildah: Buildah) -> str:
    return buildah._buildah(["images", "--format", "{{.Name}}:{{.Tag}}"])


@pytest.mark.e2e
def test_a_build_leaves_an_image_and_no_mount(buildah, order):
    buildah.build(order)
    assert NAME in images(buildah)
    # buildah ran in a mount namespace of its own.
    assert str(buildah.folder) not in Path("/proc/mounts").read_text()


@pytest.mark.e2e
def test_where_disk_is_short_the_layers_go_after_the_push(buildah, order):
    buildah.build(order)
    buildah.finish()
    assert NAME in images(buildah)
    short = replace(buildah, disk=DiskNeeds(to_keep_layers=10**18, to_build=0))
    short.finish()
    assert images(buildah).strip() == ""


@pytest.mark.e2e
def test_a_first_build_without_the_disk_for_it_is_refused(buildah, order):
    short = replace(buildah, disk=DiskNeeds(to_build=10**18))
    with pytest.raises(ClusterError, match="building the images needs 1000000000 GB of free disk"):
        short.build(order)
