from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.local.frames import Frame, Log, decode, encode, follow, read
from clearance.errors import Corrupt

frame = st.builds(
    Frame, st.integers(0, 2**64 - 1), st.integers(1, 3), st.integers(0, 2**16 - 1), st.binary(max_size=64)
)


@given(st.lists(frame, max_size=8), st.integers(0, 200))
def test_decode_gives_back_whole_frames_and_stays_before_a_torn_one(frames: list[Frame], cut: int) -> None:
    data = b"".join(map(encode, frames))
    whole, used = decode(data[: max(0, len(data) - cut)])
    assert whole == frames[: len(whole)]
    assert decode(data[used:])[0] == frames[len(whole) :]


def test_a_torn_tail_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first, second = Frame(1, 1, 0, b"one"), Frame(2, 2, 3, b"two")
    path.write_bytes(encode(first) + encode(second)[:-1])
    frames, offset = read(path)
    assert frames == [first]
    assert read(path, offset) == ([], offset)
    with path.open("ab") as file:
        file.write(encode(second)[-1:])
    assert read(path, offset)[0] == [second]


def test_no_file_means_no_output_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "none", 0) == ([], 0)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("just some text in a file")
    with pytest.raises(Corrupt, match="offset 0"):
        read(tmp_path / "log")


def test_a_frame_larger_than_the_limit_is_read_whole(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    log.append(1, 0, b"x" * 5000)
    log.close()
    frames, _ = read(tmp_path / "log", limit=100)
    assert [len(frame.data) for frame in frames] == [5000]


def test_follow_yields_what_comes_until_the_end(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    lines = [b"a", b"b", b"c"]

    def wait() -> bool:
        log.append(1, 0, lines.pop(0))
        return bool(lines)

    assert [frame.data for frame in follow(tmp_path / "log", wait)] == [b"a", b"b", b"c"]
