"""What a build that was killed left is gone when the next begins; no tool runs."""

from pathlib import Path

import pytest

from nacelle_images.buildah import Buildah, DiskNeeds
from nacelle_images.tool import BuildOrder


def test_layers_half_written_and_containers_go_before_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    half = tmp_path / "scratch" / "buildah1" / "layer"

    def noted(_: Buildah, words: list[str]) -> str:
        told.append(" ".join(words[:2]))
        assert words[0] != "bud" or not half.exists()
        return ""

    monkeypatch.setattr(Buildah, "_buildah", noted)
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    tool = Buildah(tmp_path, "scratch", plain_http=True, disk=DiskNeeds(to_build=0))
    tool.build(BuildOrder(tmp_path, tmp_path / "Dockerfile", "localhost/x:1"))
    assert told == ["rm --all", "images --quiet", "bud --quiet"]
