"""The images: what goes into each, and what each must and must never hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

ENTRY = "nacelle"


@dataclass(frozen=True)
class Rules:
    """What an image is inspected for, by name: modules and programs, and what must import whole."""

    entries: tuple[str, ...]
    modules: frozenset[str]
    no_modules: frozenset[str]
    programs: frozenset[str]
    no_programs: frozenset[str]


@dataclass(frozen=True)
class ImageSpec:
    """One image: its Dockerfile, the locks that it copies, the packages of ours that it carries.

    One that `takes_server` is made on another image or stage, its build argument SERVER_IMAGE; one
    that `takes_tensorrt` can hold TensorRT too. `wheels` is a folder of the checkout whose wheels
    are installed, where there are any; `arguments` are build arguments; `sources` are patterns of
    files that the Dockerfile copies before the code.
    """

    name: str
    dockerfile: str
    locks: tuple[str, ...]
    packages: tuple[str, ...]
    rules: Rules
    takes_server: bool = False
    takes_tensorrt: bool = False
    wheels: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


# Their names are those of NVIDIA's packages for any version of CUDA.
_TENSORRT: Final = frozenset({"tensorrt_bindings", "tensorrt_libs"})
COMPILERS = frozenset({"gcc", "g++", "cc", "c++", "clang", "nvcc", "ninja", "make", "ld"})

OPERATOR = ImageSpec(
    name="operator",
    dockerfile="operator/Dockerfile",
    locks=("requirements/operator.txt",),
    packages=("engine/nacelle_engine", "operator/nacelle_operator"),
    rules=Rules(
        entries=(
            "nacelle_operator.__main__",
            "nacelle_operator.watch",
            "nacelle_operator.activator.__main__",
        ),
        modules=frozenset({"nacelle_engine", "nacelle_operator", "kopf", "kubernetes"}),
        no_modules=frozenset({"torch", "transformers", "nacelle_builder", "nacelle_runtime"}),
        programs=frozenset({"python"}),
        no_programs=COMPILERS,
    ),
)
BUILDER = ImageSpec(
    name="builder",
    dockerfile="builder_image/Dockerfile",
    locks=("requirements/torch.txt", "requirements/builder.txt"),
    packages=("engine/nacelle_engine", "builder_image/nacelle_builder", "cli/nacelle_cli"),
    rules=Rules(
        entries=("nacelle_builder.commands.build", "nacelle_builder.commands.model"),
        modules=frozenset({"nacelle_engine", "nacelle_builder", "torch", "transformers", "triton"}),
        no_modules=frozenset({"kubernetes", "nacelle_operator", "nacelle_runtime"}) | _TENSORRT,
        programs=frozenset({ENTRY, "g++"}),
        no_programs=frozenset({"nvcc", "ninja"}),
    ),
    takes_tensorrt=True,
    sources=(
        "engine/nacelle_engine/ops/*.cpp",
        "engine/nacelle_engine/ops/*.h",
        "builder_image/nacelle_builder/compile/cpu/kernel_objects.py",
        "builder_image/nacelle_builder/compile/cpu/object_cache.py",
    ),
)
RUNTIME = ImageSpec(
    name="runtime",
    dockerfile="runtime_image/Dockerfile",
    locks=("requirements/torch.txt", "requirements/runtime.txt"),
    packages=("engine/nacelle_engine", "runtime_image/nacelle_runtime", "cli/nacelle_cli"),
    rules=Rules(
        entries=("nacelle_runtime.commands.serve",),
        modules=frozenset({"nacelle_engine", "nacelle_runtime", "torch", "fastapi"}),
        no_modules=frozenset(
            {"triton", "transformers", "kubernetes", "nacelle_operator", "nacelle_builder"}
        )
        | _TENSORRT,
        programs=frozenset({ENTRY}),
        no_programs=COMPILERS,
    ),
    takes_tensorrt=True,
)
TRITON = ImageSpec(
    name="triton",
    dockerfile="triton_image/Dockerfile",
    locks=("requirements/triton-server.txt", "requirements/triton.txt"),
    packages=("engine/nacelle_engine", "runtime_image/nacelle_runtime"),
    rules=Rules(
        entries=(
            "nacelle_runtime.frontends.triton.link",
            "nacelle_runtime.frontends.triton.request",
        ),
        modules=frozenset({"nacelle_engine", "nacelle_runtime", "numpy", "tokenizers"}),
        no_modules=frozenset({"torch", "transformers", "nacelle_operator", "nacelle_builder"}),
        programs=frozenset({"tritonserver"}),
        no_programs=frozenset(),
    ),
    takes_server=True,
)
IMAGES = (OPERATOR, RUNTIME, BUILDER)
"""What every installation needs."""
ON_DEMAND = (TRITON,)
"""What is built only when it is asked for by name."""


def with_tensorrt(spec: ImageSpec) -> ImageSpec:
    """The image with TensorRT beside what it holds; one that never needs it is given back."""
    if not spec.takes_tensorrt:
        return spec
    torch, own = spec.locks
    rules = replace(
        spec.rules,
        modules=spec.rules.modules | _TENSORRT,
        no_modules=spec.rules.no_modules - _TENSORRT,
    )
    return replace(
        spec,
        locks=(torch, "requirements/wheel-stub.txt", "requirements/tensorrt.txt", own),
        wheels="requirements/wheels",
        arguments={"TENSORRT": "1"},
        rules=rules,
    )
