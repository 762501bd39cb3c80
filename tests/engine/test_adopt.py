"""What a supervisor reports right after it was adopted may come in the same read; nothing of it may be lost."""

from __future__ import annotations

import socket
import threading

from clearance.engine.base import Finished, Snapshot, Started
from clearance.engine.local import ipc
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings


def test_what_is_reported_together_with_the_answer_to_adopt_is_not_lost(tmp_path):
    """The supervisor is a fake: only so do its messages surely come in one read."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "supervisor.sock"))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        stream = ipc.Stream(connection, ipc.Command)
        seen = []
        while not any(isinstance(message, ipc.Adopt) for message in seen):
            seen += stream.take() or []
        stream.put([ipc.Adopted(Snapshot((Started("a.0.1", (7,), (1,), ("here",)),))), Finished("a.0.1", "success")])
        stream.flush()

    thread = threading.Thread(target=answer)
    thread.start()
    engine = LocalEngine(Settings(home=tmp_path))
    snapshot = engine.adopt(1)
    thread.join()
    reported = [event.attempt for event in (*snapshot.finished, *engine.observe()) if isinstance(event, Finished)]
    engine.close(stop=False)
    listener.close()
    assert reported == ["a.0.1"]
