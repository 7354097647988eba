"""Spares Triton's interpreter half of its time; import it for its effect.

Triton 3.6 patches its language anew at each launch and whenever one @triton.jit function calls
another. Nothing but interpreted kernels uses the language here: it is patched once for the process.
"""

import exact_floats  # noqa: F401
import exact_interpreter  # noqa: F401
import triton.language as tl
from triton.language import core
from triton.runtime import interpreter


def _kernel():
    """Sees both modules that a kernel can: what is patched for it serves every other."""
    return tl, core


interpreter._patch_lang(_kernel)
interpreter._patch_lang = lambda kernel: interpreter._LangPatchScope()
