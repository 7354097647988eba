"""Which images are published, under which tags and with which build arguments; no tool runs."""

from dataclasses import dataclass, field

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.registry import Registry
from nacelle_images import publish
from nacelle_images.__main__ import main
from nacelle_images.buildah import Buildah
from nacelle_images.docker import Docker
from nacelle_images.publish import Publisher
from nacelle_images.settings import Settings, read_image_settings
from nacelle_images.spec import IMAGES, ON_DEMAND, OPERATOR, RUNTIME, TRITON, with_tensorrt


def findings(spec):
    """What an image that keeps its rules tells."""
    found = {"uid": 10001, "failures": {}, "modules": spec.rules.modules}
    return publish.inspection.Findings(**found, programs=spec.rules.programs).model_dump_json()


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
        spec = next(s for s in (*IMAGES, *ON_DEMAND) if f"/{s.name}:" in reference)
        return findings(with_tensorrt(spec) if "TENSORRT" in self.built[-1].arguments else spec)

    def push(self, reference):
        pass

    def finish(self):
        pass


def published(monkeypatch, tmp_path, tool, specs=None, server_image=None, **asked):
    monkeypatch.setattr(publish, "has_image", lambda *_: False)
    monkeypatch.setattr(publish, "write_context", lambda spec, _, folder: Context(folder, spec))
    monkeypatch.setattr(Publisher, "_tool", lambda _: tool)
    settings = Settings(tmp_path, None, server_image, **asked)
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


def test_tensorrt_is_asked_of_the_images_that_can_hold_it(monkeypatch, tmp_path):
    tool = Orders()
    plain = published(monkeypatch, tmp_path, Orders(), (OPERATOR, RUNTIME))
    asked = published(monkeypatch, tmp_path, tool, (OPERATOR, RUNTIME), tensorrt=True)
    operator, runtime = tool.built
    assert (operator.argument_words, runtime.argument_words) == (
        [],
        ["--build-arg", "TENSORRT=1"],
    )
    assert plain["operator"] == asked["operator"]
    assert plain["runtime"] != asked["runtime"]


def test_a_mirror_of_nvidias_index_is_passed_on_and_changes_no_tag(monkeypatch, tmp_path):
    tool, index = Orders(), "https://mirror.example/nvidia/"
    one = published(monkeypatch, tmp_path, Orders(), (RUNTIME,), tensorrt=True)
    asked = {"tensorrt": True, "tensorrt_index": index}
    other = published(monkeypatch, tmp_path, tool, (OPERATOR, RUNTIME), **asked)
    operator, runtime = tool.built
    assert operator.arguments == {}
    assert runtime.arguments == {"TENSORRT": "1", "WHEEL_STUB_PIP_INDEX_URL": index}
    assert one["runtime"] == other["runtime"]


def test_an_image_without_the_tensorrt_that_was_asked_for_is_not_pushed(monkeypatch, tmp_path):
    tool = Orders()
    monkeypatch.setattr(Orders, "run", lambda *_: findings(RUNTIME))
    with pytest.raises(ClusterError) as refused:
        published(monkeypatch, tmp_path, tool, (RUNTIME,), tensorrt=True)
    assert str(refused.value) == (
        "image runtime is not pushed: it lacks the module tensorrt_bindings; "
        "it lacks the module tensorrt_libs"
    )


def test_only_a_machine_that_makes_its_base_takes_the_wheel(tmp_path):
    assert Buildah(tmp_path, None, plain_http=True).server_image() == "wheel"
    assert Buildah(tmp_path, "r/debian:12", plain_http=True).server_image() is None
    assert Docker(None).server_image() is None


def test_settings_from_the_environment():
    settings = read_image_settings({"SERVER_IMAGE": "r/tritonserver:1", "HOME": "/root"})
    assert (settings.base_image, settings.server_image) == (None, "r/tritonserver:1")
    assert (settings.tensorrt, settings.tensorrt_index) == (False, None)
    asked = {"HOME": "/root", "TENSORRT": "1", "WHEEL_STUB_PIP_INDEX_URL": "https://m.example/"}
    settings = read_image_settings(asked)
    assert (settings.tensorrt, settings.tensorrt_index) == (True, "https://m.example/")
    assert not read_image_settings(asked | {"TENSORRT": "0"}).tensorrt


def test_a_wish_for_tensorrt_that_is_no_answer_is_refused():
    with pytest.raises(ClusterError) as refused:
        read_image_settings({"HOME": "/root", "TENSORRT": "yes"})
    assert str(refused.value) == "TENSORRT: 'yes' is neither 1 nor 0"


def test_an_image_that_does_not_exist_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nacelle_images", "publish", "trition"])
    with pytest.raises(SystemExit):
        main()
    known = "operator, runtime, builder, triton"
    assert f"argument IMAGE: 'trition' is not one of {known}" in capsys.readouterr().err
