"""What a process that the supervisor starts does first."""

import ctypes
import os
import signal
from typing import Final

# To the supervisor, and from it to the frontend: end soon, so send clients elsewhere.
LEAVE: Final = signal.SIGUSR1
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent (a process id) ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    if os.getppid() != parent:
        raise SystemExit("the parent has ended")
