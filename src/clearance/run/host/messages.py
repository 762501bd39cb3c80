"""What clients and the leading controller say to each other over the home's socket.

Frames: four bytes of length (big endian), then one msgpack-encoded message. The socket is 0600 in a 0700 folder,
and the peer's user id is checked: whoever can connect is the user whose installation it is.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from clearance.run.host.credentials import CredentialOrder
from clearance.run.host.orders import (
    Clear,
    ClusterOrder,
    Forget,
    MarkTask,
    Measure,
    Order,
    Register,
    RetryDeliveries,
)
from clearance.store.outbox import Event
from clearance.types.principal import Principal

LIMIT = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Run the DAG `module:name` of an unpacked bundle; `name` may be empty, parameters are as typed by a person.

    `traceparent` is the trace of the caller (W3C Trace Context), or empty.
    With `adopt`, the id of a run, what succeeded there is taken over, but for the tasks of `again`.
    """

    bundle: str
    target: str
    parameters: dict[str, Any]
    run_id: str = ""
    traceparent: str = ""
    adopt: str = ""
    again: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """Tell me the events of this run beyond number `after`, until it ends."""

    run: str
    after: int = 0


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel the run."""

    run: str


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Go on with the run; with `tasks`, only these and what depends on them. Answered by `Accepted`."""

    run: str
    tasks: list[str] | None = None


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Run the flow of this run again from a step on, in a new run of this id. Answered by `Accepted`."""

    run: str
    step: str
    run_id: str


class Why(msgspec.Struct, frozen=True, tag="why"):
    """What does the capacity desk say of this instance now?"""

    run: str
    task: str


class Decide(msgspec.Struct, frozen=True, tag="decide"):
    """A person's `decision` (`approved` or `rejected`) for a task that asks for one."""

    run: str
    task: str
    decision: str
    note: str = ""


class StopService(msgspec.Struct, frozen=True, tag="stop_service"):
    """Drain and stop the service."""

    name: str


class SetPool(msgspec.Struct, frozen=True, tag="set_pool"):
    """Say how many slots a pool has; None takes it away. Answered by whether anything changed."""

    name: str
    slots: int | None


class SetTags(msgspec.Struct, frozen=True, tag="set_tags"):
    """Set these tags of a run, and take away those named. Answered with the tags that it has then."""

    run: str
    tags: dict[str, str]
    remove: list[str] = []


class Status(msgspec.Struct, frozen=True, tag="status"):
    """Who leads, and what is going on?"""


Request = (
    Submit | Follow | Cancel | Resume | Fork | Why | Decide | StopService | SetPool | SetTags | Status | Clear
    | MarkTask | Forget | Register | Order | ClusterOrder | CredentialOrder | RetryDeliveries | Measure
)  # fmt: skip


class As(msgspec.Struct, frozen=True, tag="as"):
    """Somebody asks this by the API, which has checked who it is: whoever reaches the socket is this installation."""

    principal: Principal
    request: Request


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The run exists, and goes on if there was anything to do.

    Attributes:
        run: its id.
        created: False when it was there before.
        changed: False when there was nothing to do: it has succeeded, or it is running.
        after: number of its newest event before this request: what to follow from.
    """

    run: str
    created: bool
    changed: bool = True
    after: int = 0


class Told(msgspec.Struct, frozen=True, tag="told"):
    """This happened in a followed run, oldest first."""

    events: list[Event]


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A followed run has finished in this state."""

    run: str
    state: str


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer to a question."""

    value: Any


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """The request cannot be done; `exit_code` is that of the error."""

    message: str
    exit_code: int


Reply = Accepted | Told | Ended | Answer | Refusal

_encoder = msgspec.msgpack.Encoder()
requests = msgspec.msgpack.Decoder(Request | As)
replies = msgspec.msgpack.Decoder(Reply)


def pack(message: Request | As | Reply) -> bytes:
    """Returns the frame of a message."""
    data = _encoder.encode(message)
    return _LENGTH.pack(len(data)) + data


def unpack(buffer: bytearray) -> list[bytes]:
    """Takes every whole frame out of the buffer.

    Raises:
        ValueError: a frame longer than `LIMIT`.
    """
    frames, position = [], 0
    while len(buffer) - position >= 4:
        (length,) = _LENGTH.unpack_from(buffer, position)
        if length > LIMIT:
            raise ValueError(f"a frame of {length} bytes: the limit is {LIMIT}")
        if len(buffer) - position - 4 < length:
            break
        frames.append(bytes(buffer[position + 4 : position + 4 + length]))
        position += 4 + length
    del buffer[:position]
    return frames
