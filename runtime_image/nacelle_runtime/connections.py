"""The core's side of its socket: it reads and writes without ever waiting for a frontend."""

import selectors
import socket
from dataclasses import dataclass, field

import msgspec

from nacelle_runtime.wire import BadFrame, FrameSplitter, FromCore, ToCore, decode_to_core, frame

# What a frontend may leave unread; one that lets more pile up is cut off.
MAX_UNREAD = 16 << 20
_READ = 1 << 18


@dataclass
class _Peer:
    socket: socket.socket
    splitter: FrameSplitter = field(default_factory=FrameSplitter)
    unsent: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Received:
    """What one look at the socket brought: messages, and connections that began or ended."""

    messages: list[tuple[int, ToCore]]
    opened: list[int]
    closed: list[int]

    def __bool__(self) -> bool:
        return bool(self.messages or self.opened or self.closed)


class Connections:
    """All frontends on one listening socket, each known by a number."""

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, _Peer] = {}
        self._next = 0
        self._dropped: list[int] = []
        self._listener = listener
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def receive(self, wait: float | None) -> Received:
        """What has arrived; sleeps at most `wait` seconds until something does, or without end."""
        received = Received([], [], self._dropped)
        self._dropped = []
        for key, events in self._selector.select(0 if received.closed else wait):
            if key.data is None:
                received.opened.append(self._accept())
                continue
            number: int = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(number)
            if events & selectors.EVENT_READ and number in self._peers:
                self._read(number, received.messages)
        received.closed.extend(self._dropped)
        self._dropped = []
        return received

    def send(self, number: int, message: FromCore) -> None:
        """Hand a message to a connection; one that is gone is passed over."""
        peer = self._peers.get(number)
        if peer is None:
            return
        peer.unsent += frame(message)
        self._flush(number)
        if len(peer.unsent) > MAX_UNREAD:
            self._drop(number)

    def _accept(self) -> int:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        number = self._next
        self._next += 1
        self._peers[number] = _Peer(connection)
        self._selector.register(connection, selectors.EVENT_READ, number)
        return number

    def _read(self, number: int, messages: list[tuple[int, ToCore]]) -> None:
        peer = self._peers[number]
        try:
            data = peer.socket.recv(_READ)
            bodies = peer.splitter.feed(data)
            messages.extend((number, decode_to_core(body)) for body in bodies)
        except BlockingIOError:
            return
        except (OSError, BadFrame, msgspec.MsgspecError):
            self._drop(number)
            return
        if not data:
            self._drop(number)

    def _flush(self, number: int) -> None:
        peer = self._peers[number]
        try:
            if peer.unsent:
                del peer.unsent[: peer.socket.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(number)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        if self._selector.get_key(peer.socket).events != wanted:
            self._selector.modify(peer.socket, wanted, number)

    def _drop(self, number: int) -> None:
        peer = self._peers.pop(number, None)
        if peer is not None:
            self._selector.unregister(peer.socket)
            peer.socket.close()
            self._dropped.append(number)
