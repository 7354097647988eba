"""The sources of one FlashInfer library: its templates filled in, and our files that select a case.

FlashInfer is a folder of headers and templates here; its Python package is never imported (it
needs a GPU's libraries and writes into HOME).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2

from nacelle_builder.compile.gpu.nvcc import Unit
from nacelle_engine.errors import CompileFailed
from nacelle_engine.program.attention_library import AttentionLibrary

_OURS: Final = Path(__file__).parent / "flashinfer"
_TYPES = {"bfloat16": "nv_bfloat16", "float8_e4m3fn": "__nv_fp8_e4m3"}
_DEFINES = (
    "FLASHINFER_ENABLE_F16", "FLASHINFER_ENABLE_BF16", "FLASHINFER_ENABLE_FP8_E4M3",
    "FLASHINFER_ENABLE_FP8_E5M2", "FLASHINFER_ENABLE_FP8_E8M0", "FLASHINFER_ENABLE_FP4_E2M1",
    "CUTE_SM90_EXTENDED_MMA_SHAPES_ENABLED",
)  # fmt: skip
# What every call gets beyond FlashInfer's own arguments, in this order; program/flashinfer.py
# passes them. The scales are pointers: null where nothing is scaled.
_TENSORS = ("kv_scales", "q_scale")
_SCALARS = ("sm_scale", "logits_soft_cap")


@dataclass(frozen=True)
class _Recipe:
    """Templates of one algorithm: the configuration, the kernels, and our file with the exports."""

    config: str
    config_name: str
    kernels: str
    host: str
    variant: str
    header: str
    params: str = "params."


@dataclass(frozen=True)
class Headers:
    """Where the headers lie: FlashInfer's `data` folder and tvm_ffi's package folder."""

    flashinfer: Path
    tvm_ffi: Path

    @property
    def includes(self) -> tuple[Path, ...]:
        """Folders to search, FlashInfer's own CUDA C++ core libraries before the toolkit's."""
        data = self.flashinfer
        return (
            data / "csrc", data / "include", data / "cccl" / "libcudacxx" / "include",
            data / "cutlass" / "include", data / "cutlass" / "tools" / "util" / "include",
            self.tvm_ffi / "include",
        )  # fmt: skip

    @property
    def library(self) -> Path:
        """The library that calls and tensors cross the border through."""
        return self.tvm_ffi / "lib" / "libtvm_ffi.so"


def find_headers() -> Headers:
    """The installed packages' folders; CompileFailed names the package that is missing."""
    return Headers(_package("flashinfer", "flashinfer-python") / "data",
                   _package("tvm_ffi", "apache-tvm-ffi"))  # fmt: skip


def own_sources() -> tuple[Path, ...]:
    """Our files that select a case and export it, sorted by name."""
    return tuple(sorted(path for path in _OURS.iterdir() if path.is_file()))


def write_sources(library: AttentionLibrary, headers: Headers, work: Path) -> Unit:
    """Fill the templates into the folder `work`; CompileFailed when FlashInfer lacks one."""
    recipe = _recipe(library)
    context = _context(library, recipe)
    _fill(headers, recipe.config, work / recipe.config_name, context)
    kernels = work / f"{library.algorithm}_kernels.cu"
    _fill(headers, recipe.kernels, kernels, context)
    defines = [*_DEFINES]
    if library.algorithm == "decode":
        defines.append(f"NACELLE_GROUP_SIZE={library.group_size}")
    if library.query_dtype != "bfloat16":
        defines.append("NACELLE_FP8")
    return Unit(
        sources=(kernels, _OURS / recipe.host),
        includes=(work, _OURS, *headers.includes),
        defines=tuple(defines),
        prelude=_OURS / "only.cuh",
        exports=_OURS / "exports.map",
        libraries=(headers.library,),
    )


def _recipe(library: AttentionLibrary) -> _Recipe:
    flags = [library.sliding_window, library.soft_cap, library.kv_dtype != "bfloat16"]
    variant = f"CacheAttention<{', '.join(str(flag).lower() for flag in flags)}>"
    if library.algorithm == "decode":
        return _Recipe("batch_decode_customize_config.jinja", "batch_decode_config.inc",
                       "batch_decode_kernel_inst.jinja", "decode.cu", variant,
                       "cache_attention.cuh")  # fmt: skip
    if library.algorithm == "fa2":
        return _Recipe("batch_prefill_customize_config.jinja", "batch_prefill_config.inc",
                       "batch_prefill_paged_kernel_inst.jinja", "fa2.cu", variant,
                       "cache_attention.cuh")  # fmt: skip
    fp8 = library.query_dtype != "bfloat16"
    return _Recipe(
        config="batch_prefill_sm90_customize_config.jinja",
        config_name="batch_prefill_sm90_config.inc",
        kernels=f"batch_prefill{'_fp8' if fp8 else ''}_paged_sm90_kernel_inst.jinja",
        host="fa3.cu",
        variant="Fp8CacheAttention" if fp8 else f"CacheAttention<{str(library.soft_cap).lower()}>",
        header="cache_attention_sm90.cuh",
        params="params.additional_params.",
    )


def _context(library: AttentionLibrary, recipe: _Recipe) -> dict[str, object]:
    """The names that FlashInfer's templates ask for."""
    declared = [f"float* {name};" for name in _TENSORS] + [f"double {name};" for name in _SCALARS]
    arguments = [f", Optional<ffi::Tensor> {name}" for name in _TENSORS]
    arguments += [f", double {name}" for name in _SCALARS]
    setters = [
        f"{recipe.params}{name} = "
        f"{name} ? static_cast<float*>({name}.value().data_ptr()) : nullptr;"
        for name in _TENSORS
    ] + [f"{recipe.params}{name} = {name};" for name in _SCALARS]
    return {
        "additional_params_decl": " ".join(declared),
        "additional_func_params": "".join(arguments),
        "additional_params_setter": " ".join(setters),
        "variant_name": recipe.variant,
        "variant_decl": f'#include "{recipe.header}"',
        "dtype_q": _TYPES[library.query_dtype],
        "dtype_kv": _TYPES[library.kv_dtype],
        "dtype_o": _TYPES["bfloat16"],
        "idtype": "int32_t",
        "require_fp4_kv_cache": False,
        "head_dim_qk": library.head_dim,
        "head_dim_vo": library.head_dim,
        "pos_encoding_mode": "PosEncodingMode::kNone",
        "mask_mode": "MaskMode::kCausal",
        "use_sliding_window": str(library.sliding_window).lower(),
        "use_logits_soft_cap": str(library.soft_cap).lower(),
        "use_fp16_qk_reduction": "false",
        "paged_kv_stride_mode": "equal",
        "same_kv_strides_values": ["true"],
    }


def _fill(headers: Headers, template: str, out: Path, context: dict[str, object]) -> None:
    path = headers.flashinfer / "csrc" / template
    try:
        text = path.read_text()
    except OSError as error:
        raise CompileFailed(f"{path} cannot be read: {error.strerror}") from error
    out.write_text(jinja2.Template(text, undefined=jinja2.StrictUndefined).render(context))


def _package(module: str, distribution: str) -> Path:
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise CompileFailed(
            f"{distribution} is not installed: install the extra nacelle[gpu-builder]"
        )
    return Path(found.submodule_search_locations[0])
