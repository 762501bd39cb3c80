"""Tables, JSON, and numbers as people read them."""

import json
from pathlib import Path

from clearance.cli.output import count, duration, print_json, print_table, size


def test_a_table_off_a_terminal_is_aligned_text(capsys):
    print_table(["name", "n"], [["a", 1], ["long name", None]])
    assert capsys.readouterr().out == "NAME       N\na          1\nlong name\n"


def test_an_empty_table_has_its_headings(capsys):
    print_table(["name"], [])
    assert capsys.readouterr().out == "NAME\n"


def test_json_takes_paths(capsys):
    print_json({"file": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"file": "a"}


def test_numbers():
    assert [duration(x) for x in (0.04, 9.94, 42.4, 75, 3599.6, 7500)] == [
        "0.0 s",
        "9.9 s",
        "42 s",
        "1m15s",
        "1h00m",
        "2h05m",
    ]
    assert [size(x) for x in (0, 1023, 2048, 5 * 2**40)] == ["0 B", "1023 B", "2.0 KiB", "5.0 TiB"]
    assert [count(1, "task"), count(2, "task")] == ["1 task", "2 tasks"]
