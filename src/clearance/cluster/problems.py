"""What is wrong with a file of queues: every problem with its line, all of them in one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from clearance.errors import UsageError


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        line: from 1; 0: nowhere in particular.
        message: what is wrong, where (the dotted path), and the mend.
    """

    line: int
    message: str

    def __str__(self) -> str:
        """`line 12: …`, on one line."""
        return f"line {self.line}: {self.message}" if self.line else self.message


class InvalidQueues(UsageError):
    """A file of queues that cannot be used.

    Attributes:
        name: of the file.
        problems: all that were found, in the order of the lines.
    """

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        self.name = name
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join((f"{name}: {count}", *(f"  {problem}" for problem in problems))))


class Problems:
    """Collects what is wrong, and knows the line of every dotted path that was read."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._lines: dict[str, int] = {}

    def add(self, message: str, line: int = 0) -> None:
        """Remembers a problem, once."""
        self._found[Problem(line, " ".join(message.split("\n")))] = None

    def place(self, path: str, line: int) -> None:
        """Remembers where a dotted path stands."""
        self._lines.setdefault(path, line)

    def line(self, *paths: str) -> int:
        """Returns the line of the first of these paths that was read; 0 when none was."""
        return next((self._lines[path] for path in paths if path in self._lines), 0)

    @contextmanager
    def at(self, line: int) -> Iterator[None]:
        """Takes a `UsageError` of the block as a problem of this line."""
        try:
            yield
        except UsageError as error:
            self.add(str(error), line)

    def raise_any(self, name: str) -> None:
        """Raises all that was found.

        Raises:
            InvalidQueues: there is at least one problem.
        """
        if self._found:
            raise InvalidQueues(name, tuple(sorted(self._found, key=lambda problem: problem.line)))
