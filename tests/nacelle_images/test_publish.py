"""Which images are published, under which tags and with which build arguments; no tool runs."""

from dataclasses import dataclass, field

import pytest

from nacelle_cluster.registry import Registry
from nacelle_images import publish
from nacelle_images.__main__ import main
from nacelle_images.buildah import Buildah
from nacelle_images.docker import Docker
from nacelle_images.publish import Publisher
from nacelle_images.settings import Settings, read_image_settings
from nacelle_images.spec import IMAGES, ON_DEMAND, RUNTIME, TRITON


@dataclass
class Orders:
    """A container tool that keeps what it is told."""

    server: str | None = "wheel"
    built: list = field(default_factory=list)

    def base_identity(self):
        return "base"

    def server_image(self):
        return self.server

    def build(self, order):
        self.built.append(order)

    def run(self, reference, command):
        rules = next(s.rules for s in (*IMAGES, *ON_DEMAND) if f"/{s.name}:" in reference)
        found = {"uid": 10001, "failures": {}, "modules": rules.modules}
        return publish.inspection.Findings(**found, programs=rules.programs).model_dump_json()

    def push(self, reference):
        pass

    def finish(self):
        pass


def published(monkeypatch, tmp_path, tool, specs=None, server_image=None):
    monkeypatch.setattr(publish, "has_image", lambda *_: False)
    monkeypatch.setattr(publish, "write_context", lambda spec, _, folder: Context(folder, spec))
    monkeypatch.setattr(Publisher, "_tool", lambda _: tool)
    settings = Settings(tmp_path, None, server_image)
    publisher = Publisher(settings, Registry("r.example.com", plain_http=False), lambda _: None)
    return publisher.publish(specs) if specs else publisher.publish()


class Context:
    def __init__(self, folder, spec):
        self.folder, self.dockerfile = folder, folder / spec.dockerfile


def test_tritons_image_is_built_only_when_it_is_asked_for(monkeypatch, tmp_path):
    assert set(published(monkeypatch, tmp_path, Orders())) == {"operator", "runtime", "builder"}
    assert set(published(monkeypatch, tmp_path, Orders(), (TRITON,))) == {"triton"}


@pytest.mark.parametrize(
    ("asked", "tools", "argument"),
    [
        (None, "wheel", ["--build-arg", "SERVER_IMAGE=wheel"]),
        (None, None, []),
        ("r/tritonserver:1", "wheel", ["--build-arg", "SERVER_IMAGE=r/tritonserver:1"]),
    ],
)
def test_what_tritons_image_is_made_on(monkeypatch, tmp_path, asked, tools, argument):
    tool = Orders(tools)
    published(monkeypatch, tmp_path, tool, (RUNTIME, TRITON), asked)
    runtime, triton = tool.built
    assert (runtime.argument_words, triton.argument_words) == ([], argument)


def test_another_server_gives_tritons_image_alone_another_tag(monkeypatch, tmp_path):
    one, other = (
        published(monkeypatch, tmp_path, Orders(server), (RUNTIME, TRITON))
        for server in ("wheel", "r/tritonserver:1")
    )
    assert one["runtime"] == other["runtime"]
    assert one["triton"] != other["triton"]


def test_only_a_machine_that_makes_its_base_takes_the_wheel(tmp_path):
    assert Buildah(tmp_path, None, plain_http=True).server_image() == "wheel"
    assert Buildah(tmp_path, "r/debian:12", plain_http=True).server_image() is None
    assert Docker(None).server_image() is None


def test_settings_from_the_environment():
    settings = read_image_settings({"SERVER_IMAGE": "r/tritonserver:1", "HOME": "/root"})
    assert (settings.base_image, settings.server_image) == (None, "r/tritonserver:1")


def test_an_image_that_does_not_exist_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nacelle_images", "publish", "trition"])
    with pytest.raises(SystemExit):
        main()
    known = "operator, runtime, builder, triton"
    assert f"argument IMAGE: 'trition' is not one of {known}" in capsys.readouterr().err
