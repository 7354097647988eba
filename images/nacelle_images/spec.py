"""The images: what goes into each, and what each must and must never hold."""

from dataclasses import dataclass

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

    One that `takes_server` is made on another image or stage, its build argument SERVER_IMAGE.
    """

    name: str
    dockerfile: str
    locks: tuple[str, ...]
    packages: tuple[str, ...]
    rules: Rules
    takes_server: bool = False


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
        no_modules=frozenset({"kubernetes", "nacelle_operator", "nacelle_runtime"}),
        programs=frozenset({ENTRY, "g++"}),
        no_programs=frozenset({"nvcc", "ninja"}),
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
        ),
        programs=frozenset({ENTRY}),
        no_programs=COMPILERS,
    ),
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
