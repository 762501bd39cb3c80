"""YAML as a tree of nodes that know their lines, without anything in YAML that runs code or grows.

Rules:

1. Texts, numbers, booleans, lists and maps; another tag is refused, and so are aliases and merge keys: a few lines
   of them can stand for millions of values.
2. At most `DEPTH` levels, and at most `SIZE` characters.
3. A key stands once in its map; an unknown key is a problem that names the nearest known one.
4. A scalar is read as it is written, so that `010` or `1_000` is never taken for another number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import yaml

from clearance.cluster.problems import Problems
from clearance.errors import UsageError, nearest

DEPTH = 100
SIZE = 4 * 2**20

_CORE = "tag:yaml.org,2002:"
_PLAIN = {f"{_CORE}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value")}
_NULL = f"{_CORE}null"
_TRUE, _FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_LARGEST = 2**63 - 1
_TOP = "the file"


class _Loader(yaml.SafeLoader):
    """Composes nodes within the bounds of this module."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"the alias '*{event.anchor}' is refused: write out what it stands for", line)
        if self.depth >= DEPTH:
            raise _Refused(f"more than {DEPTH} levels: queues are not nested that deep", line)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Refused(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str, problems: Problems) -> yaml.Node | None:
    """Returns the one document of a text; None when it is empty, or is none, which is then a problem."""
    if len(text) > SIZE:
        problems.add(f"it has {len(text)} characters, more than {SIZE}: take comments and unused queues away")
        return None
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except _Refused as refused:
        problems.add(str(refused), refused.line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(f"it is no YAML: {error.problem or error.context}", mark.line + 1 if mark else 0)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problems.add(f"it is no YAML: {error}")
    return None


def line_of(node: yaml.Node) -> int:
    """Returns the line on which a node begins, from 1."""
    return int(node.start_mark.line) + 1


def empty(node: yaml.Node | None) -> bool:
    """Whether there is nothing: no node, or `null`."""
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL)


class Fields:
    """A map of the document, whose keys are read one by one; each reading notes what is wrong and goes on.

    Args:
        node: of the document; anything but a map is a problem.
        where: its dotted path.
        problems: where problems go.
        known: the keys that it may have; None: any.
    """

    def __init__(self, node: yaml.Node | None, where: str, problems: Problems, known: Iterable[str] | None) -> None:
        self.where = where
        self.line = 0 if node is None else line_of(node)
        self.problems = problems
        self._values: dict[str, yaml.Node] = {}
        if node is None or empty(node):
            return
        if not isinstance(node, yaml.MappingNode) or node.tag not in _PLAIN:
            problems.add(
                f"{where or _TOP} is {_kind(node)}: write a map, `key: value` on lines of their own", self.line
            )
            return
        allowed = None if known is None else tuple(known)
        for key, value in node.value:
            self._take(key, value, allowed)

    def _take(self, key: yaml.Node, value: yaml.Node, known: tuple[str, ...] | None) -> None:
        line = line_of(key)
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _PLAIN:
            self.problems.add(f"{self.where or _TOP} has {_kind(key)} as a key: write a plain text", line)
            return
        name = str(key.value)
        if known is not None and name not in known:
            near = nearest(name.lower(), known)
            tail = near or f"; write one of {', '.join(known)}"
            self.problems.add(f"{self.path(name)} is {_shown(value)}: there is no key {name!r}{tail}", line)
        elif name in self._values:
            first = line_of(self._values[name])
            self.problems.add(f"{self.path(name)} stands twice, first on line {first}: take one away", line)
        else:
            self._values[name] = value
            self.problems.place(self.path(name), line)

    def path(self, name: str) -> str:
        """The dotted path of a key."""
        return f"{self.where}.{name}" if self.where else name

    def __contains__(self, name: str) -> bool:
        """Whether the key is there with something in it."""
        return not empty(self._values.get(name))

    def node(self, name: str) -> yaml.Node | None:
        """What stands at a key; None when it is empty or absent."""
        found = self._values.get(name)
        return None if empty(found) else found

    def mapping(self, name: str, known: Iterable[str] | None) -> Fields:
        """The map at a key, empty when there is none."""
        return Fields(self.node(name), self.path(name), self.problems, known)

    def elements(self, name: str) -> list[yaml.Node]:
        """The elements of the list at a key."""
        node = self.node(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or node.tag not in _PLAIN:
            self.problems.add(
                f"{self.path(name)} is {_kind(node)}: write a list, each element after '- '", line_of(node)
            )
            return []
        return [element for element in node.value if not empty(element)]

    def texts(self, name: str) -> list[str]:
        """The list of texts at a key."""
        found = (self._scalar(node, f"{self.path(name)}[{i}]") for i, node in enumerate(self.elements(name)))
        return [text for text in found if text is not None]

    def text(self, name: str, default: str = "") -> str:
        """The text at a key."""
        node = self.node(name)
        found = None if node is None else self._scalar(node, self.path(name))
        return default if found is None else found

    def items(self) -> Iterator[tuple[str, str, int]]:
        """Yields each key with its text and line."""
        for name, node in self._values.items():
            if empty(node):
                self.problems.add(f"{self.path(name)} is empty: write a value, or take it away", line_of(node))
            elif (text := self._scalar(node, self.path(name))) is not None:
                yield name, text, line_of(node)

    def boolean(self, name: str, default: bool) -> bool:
        """The `true` or `false` at a key."""
        text = self.text(name)
        if text.lower() in _TRUE:
            return True
        if text and text.lower() not in _FALSE:
            self.problems.add(f"{self.path(name)} is {text!r}: write true or false", self.line_at(name))
        return False if text.lower() in _FALSE else default

    def count(self, name: str) -> int | None:
        """The whole number from 1 at a key; None when it is absent."""
        text = self.text(name)
        if name not in self:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= _LARGEST):
            hint = "; leave it away for no limit" if text == "0" else ""
            self.problems.add(f"{self.path(name)} is {text!r}: write a whole number from 1{hint}", self.line_at(name))
            return None
        return int(text)

    def line_at(self, name: str) -> int:
        """The line of a key; that of the map when it is absent."""
        node = self._values.get(name)
        return self.line if node is None else line_of(node)

    def _scalar(self, node: yaml.Node, where: str) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return str(node.value)
        self.problems.add(f"{where} is {_kind(node)}: write one plain value", line_of(node))
        return None


def read_file(path: str) -> str:
    """Returns the text of a file.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(SIZE + 1)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path!r} cannot be read ({reason}): name a file of queues") from None


def _kind(node: yaml.Node) -> str:
    if node.tag not in _PLAIN:
        return f"of the kind {node.tag.removeprefix(_CORE)!r}, which is refused"
    if isinstance(node, yaml.MappingNode):
        return "a map"
    return "a list" if isinstance(node, yaml.SequenceNode) else f"{_shown(node)}"


def _shown(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return _kind(node)
    text = str(node.value)
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
