"""The launch before this one, in a chain where each may start before the last one's end."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def wait_for_predecessor(DEPENDENT: tl.constexpr):
    """Let the successor start, then wait until the predecessor's writes can be read.

    Every program of every kernel of the chain waits, so what a launch's writes rest on is complete
    as well. What comes before the call may read weights only.
    """
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()
