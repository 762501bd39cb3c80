from __future__ import annotations

import socket

from clearance.engine.base import Finished, Snapshot
from clearance.engine.local import ipc


def test_what_lies_behind_the_first_frame_stays_to_be_read() -> None:
    """An event that follows the answer to an adoption at once must not be lost with it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sender, receiver = ipc.Stream(ours, ipc.Reply), ipc.Stream(theirs, ipc.Reply)
    answer = ipc.Adopted(Snapshot(finished=tuple(Finished(f"a.{number}", "success") for number in range(5000))))
    event = Finished("b.1", "success")
    for frame in ([answer], [event]):
        sender.put(frame)
    first: list[object] = []
    while not first:
        sender.flush()
        messages = receiver.take_frame()
        assert messages is not None
        first = messages
    assert first == [answer]
    while not sender.flush():
        pass
    assert receiver.take() == [event]
