"""How controller, supervisor, zygotes and workers speak: msgpack of tagged structs, many to a frame.

- Controller and supervisor: a stream socket; a frame is 4 bytes of length (big-endian) and a msgpack array.
- Supervisor and zygote or worker: a SEQPACKET socket; a packet is a msgpack array, and the descriptors that the
  messages in it need lie beside it, in the order of the messages. An array over `PACKET` bytes travels in a memfd:
  the packet is then empty and the memfd is the last descriptor.

Decoding is strict: an unknown tag, a wrong type or an oversized frame ends the connection.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from clearance.engine.base import Defined, EngineLost, Failure, Finished, Launch, Ready, Snapshot, Started
from clearance.errors import EngineError
from clearance.types.artifact import Artifact

PACKET = 32768
DESCRIPTORS = 240
FLOWS = ".flows"  # what the name of a controller's socket for flows has beyond that of its direct one
FRAME_LIMIT = 1 << 30
_LENGTH = struct.Struct(">I")
_CHUNK = 32768  # a buffer beyond malloc's threshold (128 KiB) costs a mapping and its page faults at each read


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """First word to a supervisor: where the blobs are, and whether network traffic is counted (as the setting)."""

    blobs: str
    accounting: str


class Adopt(msgspec.Struct, frozen=True, tag="adopt"):
    """A controller with this epoch takes over. Warm workers tell it of successes at the datagram socket `direct`."""

    epoch: int
    direct: str


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Warm zygotes for the bundle and each of these preload sets."""

    bundle: str
    preloads: tuple[tuple[str, ...], ...]


class LaunchAll(msgspec.Struct, frozen=True, tag="launch"):
    """Start these.

    Attributes:
        launches: what.
        over: attempts of which warm workers told the controller since its last launch.
        back: workers that were lent and are taken back for these.
    """

    launches: tuple[Launch, ...]
    over: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """This was sent to a worker that was lent under this number (`Lent`)."""

    launch: Launch
    worker: str
    loan: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """End these: notice, `grace` seconds, kill; then `outcome` is what is said of them."""

    attempts: tuple[str, ...]
    grace: float
    outcome: str


class Acknowledge(msgspec.Struct, frozen=True, tag="acknowledge"):
    """These results are committed."""

    attempts: tuple[str, ...]


class Define(msgspec.Struct, frozen=True, tag="define"):
    """Build the graph of `module:name`; answered by one `Defined` of the same request."""

    request: str
    bundle: str
    target: str
    parameters: dict[str, Any]


class Close(msgspec.Struct, frozen=True, tag="close"):
    """The controller leaves; with `stop`, everything is ended."""

    stop: bool


class Mask(msgspec.Struct, frozen=True, tag="mask"):
    """From the process of an attempt, not a controller: put `***` for these in its log. Answered by `Masked`."""

    attempt: str
    forms: tuple[bytes, ...]


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """From the process of a flow: which controller leads, now and whenever that changes? Answered by `Leads`."""


Command = Configure | Adopt | Prepare | LaunchAll | Sent | Cancel | Acknowledge | Define | Close | Mask | Follow


class Leads(msgspec.Struct, frozen=True, tag="leads"):
    """The name in the home of the leading controller's direct socket; empty while nobody leads."""

    direct: str


class Masked(msgspec.Struct, frozen=True, tag="masked"):
    """The answer to `Mask`: from now on."""


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    """The answer to `Adopt`. `uncounted` says why network traffic is not counted; empty where it is."""

    snapshot: Snapshot
    uncounted: str = ""


class Fenced(msgspec.Struct, frozen=True, tag="fenced"):
    """A controller with epoch `by` leads: this connection is of no use any more."""

    by: int


Reply = Adopted | Fenced | Masked | Leads | Defined | Started | Ready | Finished | EngineLost


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """To a zygote: one process of an attempt.

    Descriptors: output, error, and for a service a report; for a definition the report alone.
    """

    launch: Launch
    rank: int = 0
    port: int = 0


class StartWorker(msgspec.Struct, frozen=True, tag="worker"):
    """To a zygote: a warm process, made for an attempt of so many CPUs.

    Descriptors: its socket, its slate, output, error.
    """

    name: str
    cpu_millis: int = 0


class Branch(msgspec.Struct, frozen=True, tag="branch"):
    """To the base zygote of a bundle: a zygote that imports more. Descriptor: its socket."""

    preload: tuple[str, ...]


Request = Fork | StartWorker | Branch


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """From a zygote: the process for this attempt (or worker) and rank exists.

    `note` is for its log. With pid 0 it could not be made, and `note` says why. Without a key it is the zygote itself.
    """

    key: str
    rank: int
    pid: int
    birth: int
    note: str = ""


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """From a zygote: that process, its group and its orphans are gone. `status` is as `wait4` gives it."""

    pid: int
    status: int
    cpu_seconds: float
    peak_memory: int


class Run(msgspec.Struct, frozen=True, tag="run"):
    """To a worker: call this. `direct` is the socket of the controller that leads, by its name in the home.

    `loan` is 0 from the supervisor; from a controller the number under which the worker is lent to it.
    """

    launch: Launch
    direct: str
    loan: int = 0


class Lent(msgspec.Struct, frozen=True, tag="lent"):
    """To the controller that leads: this worker takes what it is sent. Beside it lies a descriptor of its socket.

    Attributes:
        worker: its name.
        loan: a number that is new each time it is lent; with any other it refuses.
        bundle: whose code it holds.
        preload: modules beyond the bundle's that it holds.
        attempt: what it runs; empty when it is idle.
    """

    worker: str
    loan: int
    bundle: str
    preload: tuple[str, ...]
    attempt: str


class Spooled(msgspec.Struct, frozen=True, tag="spooled", omit_defaults=True):
    """What a process wrote before it reported: the record in its spool file, and a worker's answer.

    Attributes:
        attempt: key of the launch.
        rank: which process of the gang.
        size: how many the gang has.
        result: what the function returned; None for a `None`, and for every rank but 0.
        failure: why it did not return.
        cpu_seconds: what a worker used for this attempt.
        peak_memory: a worker's peak resident bytes.
        told: the worker tells the controller itself; in its answer, it has.
    """

    attempt: str
    rank: int = 0
    size: int = 1
    result: Artifact | None = None
    failure: Failure | None = None
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    told: bool = False


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """From a worker: it does not run this, which was sent to it under a loan that is over."""

    attempt: str


encoder = msgspec.msgpack.Encoder()
encode = encoder.encode


class Stream:
    """One end of a stream socket: gathers what is to be sent, and cuts what comes into messages.

    Args:
        connection: a connected stream socket.
        kind: the union of the messages that may come.

    Attributes:
        ended: who waited for an answer saw the end instead.
    """

    __slots__ = ("_decoder", "_inbox", "_outbox", "connection", "ended")

    def __init__(self, connection: socket.socket, kind: Any) -> None:
        self.connection = connection
        self.ended = False
        self._decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[kind])
        self._inbox = bytearray()
        self._outbox = bytearray()

    def put(self, messages: Sequence[msgspec.Struct]) -> None:
        """Adds one frame to what is to be sent."""
        body = encode(messages)
        self._outbox += _LENGTH.pack(len(body))
        self._outbox += body

    def flush(self) -> bool:
        """Sends what the socket takes; True when nothing is left.

        Raises:
            OSError: the other side is gone.
        """
        while self._outbox:
            try:
                sent = self.connection.send(self._outbox, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            if sent == len(self._outbox):
                self._outbox.clear()
                return True
            del self._outbox[:sent]
        return True

    def take_frame(self) -> list[Any] | None:
        """As `take`, but takes nothing that lies behind the first frame: that stays to be read."""
        wanted = 4 - len(self._inbox)
        if wanted <= 0:
            wanted = 4 + _LENGTH.unpack_from(self._inbox)[0] - len(self._inbox)
        return self.take(limit=min(wanted, _CHUNK))

    def take(self, flags: int = socket.MSG_DONTWAIT, limit: int = _CHUNK) -> list[Any] | None:
        """Returns the messages that have come whole; None when the other side is gone.

        Raises:
            EngineError: what came is not a message of the protocol.
        """
        try:
            chunk = self.connection.recv(limit, flags)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk:
            return None
        inbox = self._inbox
        messages: list[Any] = []
        if not inbox and len(chunk) >= 4 and _LENGTH.unpack_from(chunk)[0] == len(chunk) - 4:  # one whole frame
            return self._decode(memoryview(chunk)[4:])
        inbox += chunk
        position = 0
        while len(inbox) - position >= 4:
            (length,) = _LENGTH.unpack_from(inbox, position)
            if length > FRAME_LIMIT:
                raise EngineError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
            if len(inbox) - position - 4 < length:
                break
            messages += self._decode(bytes(inbox[position + 4 : position + 4 + length]))
            position += 4 + length
        del inbox[:position]
        return messages

    def _decode(self, body: bytes | memoryview) -> list[Any]:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise EngineError(f"the local engine's socket carried what is no message: {error}") from None


class Packets:
    """One end of a SEQPACKET socket: messages with descriptors beside them.

    Args:
        connection: a connected SEQPACKET socket; may be non-blocking, then `flush` keeps what it cannot send.
        kind: the union of the messages that may come.
    """

    __slots__ = ("_decoder", "_descriptors", "_messages", "_pending", "connection")

    def __init__(self, connection: socket.socket, kind: Any) -> None:
        self.connection = connection
        self._decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[kind])
        self._messages: list[msgspec.Struct | msgspec.Raw] = []
        self._descriptors: list[int] = []
        self._pending: list[tuple[bytes, list[int]]] = []

    def put(self, message: msgspec.Struct, descriptors: Sequence[int] = ()) -> None:
        """Adds a message. The descriptors are ours no more: they are closed once sent."""
        if len(self._descriptors) + len(descriptors) > DESCRIPTORS:
            self._seal()
        self._messages.append(message)
        self._descriptors += descriptors

    def put_encoded(self, body: bytes) -> None:
        """Adds a message that is encoded already."""
        self._messages.append(msgspec.Raw(body))

    def _seal(self) -> None:
        body = encode(self._messages)
        descriptors = self._descriptors
        self._messages = []
        self._descriptors = []
        if len(body) > PACKET:
            memory = os.memfd_create("packet")
            with open(memory, "wb", closefd=False) as file:
                file.write(body)
            descriptors.append(memory)
            body = b""
        self._pending.append((body, descriptors))

    def flush(self) -> bool:
        """Sends what the socket takes; True when nothing is left.

        Raises:
            OSError: the other side is gone.
        """
        if self._messages:
            self._seal()
        while self._pending:
            body, descriptors = self._pending[0]
            try:
                if descriptors:
                    rights = array.array("i", descriptors)
                    self.connection.sendmsg(
                        [body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL
                    )
                else:
                    self.connection.send(body, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            for descriptor in descriptors:
                os.close(descriptor)
            self._pending.pop(0)
        return True

    def discard(self) -> None:
        """Closes the descriptors that were never sent, and the socket."""
        for _, descriptors in self._pending:
            self._descriptors += descriptors
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._pending.clear()
        self._messages.clear()
        self._descriptors = []
        self.connection.close()

    def take(self) -> tuple[list[Any], list[int]] | None:
        """Receives one packet: its messages and descriptors; None when the other side is gone.

        On a non-blocking socket with nothing to read, two empty lists.

        Raises:
            EngineError: what came is not a message of the protocol.
        """
        try:
            body, ancillary, _, _ = self.connection.recvmsg(PACKET + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return [], []
        except OSError:
            return None
        descriptors = descriptors_of(ancillary) if ancillary else []
        if not body:
            if not descriptors:
                return None
            with open(descriptors.pop(), "rb") as file:
                file.seek(0)
                body = file.read()
        try:
            return self._decoder.decode(body), descriptors
        except msgspec.MsgspecError as error:
            raise EngineError(f"a process of the local engine said what is no message: {error}") from None


_ANCILLARY = socket.CMSG_SPACE((DESCRIPTORS + 8) * 4)


def descriptors_of(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Returns the descriptors that lay beside what was received."""
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            rights = array.array("i")
            rights.frombytes(data[: len(data) - len(data) % rights.itemsize])
            descriptors += rights
    return descriptors


def pair() -> tuple[socket.socket, socket.socket]:
    """Returns the two ends of a new SEQPACKET connection; ours is non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs
