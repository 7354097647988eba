"""When a step ended on its device, and how long the device had waited for it."""

import time
from typing import Protocol

import torch

from nacelle_runtime.batch import DeviceTime


class Marks(Protocol):
    """The times of one step, set in this order: made, `launched`, `wait`."""

    def launched(self) -> None:
        """All of the step is handed to the device."""
        ...

    def wait(self) -> None:
        """Wait for the step's end."""
        ...

    def since(self, before: "Marks") -> DeviceTime:
        """From the end of the step before, which was collected, to this one's."""
        ...


class HostMarks:
    """A device that is this process: a step runs from `began` until it is launched."""

    def __init__(self) -> None:
        self._began = self._ended = time.monotonic()

    def launched(self) -> None:
        """The step has run."""
        self._ended = time.monotonic()

    def wait(self) -> None:
        """It has ended already."""

    def since(self, before: "Marks") -> DeviceTime:
        """The device had no work from the end of the step before until this one began."""
        assert isinstance(before, HostMarks), "another device's time"
        return DeviceTime(self._ended - before._ended, self._began - before._ended)


class CudaMarks:
    """A GPU's: events on the current stream, and on one that is always empty.

    The device had no work for at most the time from the end of the step before until the step was
    launched as a whole; none, when it was launched before that end.
    """

    _empty: torch.cuda.Stream | None = None

    def __init__(self) -> None:
        self._queued, self._ended = _event(), _event()

    def launched(self) -> None:
        """Mark the host's time, and the end of what was launched."""
        if CudaMarks._empty is None:
            CudaMarks._empty = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._queued.record(CudaMarks._empty)
        self._ended.record()

    def wait(self) -> None:
        """Wait until the device has come to the step's end."""
        self._ended.synchronize()

    def since(self, before: "Marks") -> DeviceTime:
        """Both ends and the launch by the device's own clock."""
        assert isinstance(before, CudaMarks), "another device's time"
        idle = before._ended.elapsed_time(self._queued) / 1000
        return DeviceTime(before._ended.elapsed_time(self._ended) / 1000, max(idle, 0.0))


def marks(device: torch.device) -> Marks:
    """The marks of a step that begins now."""
    return CudaMarks() if device.type == "cuda" else HostMarks()


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
