"""Key path -> line number, for TOML text that `tomllib` has already accepted.

`tomllib` forgets where a value stood, and a fault without a line number is half a fault. This
scanner does not judge TOML: it only follows the text far enough to know which key starts on which
line, including the n-th inline table of an array. A path is a tuple of keys and list indices, e.g.
``("tag", 25, "address")``.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_BASIC_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL_STRING = re.compile(r"'[^'\n]*'")
# Up to two quotes may stand directly before the closing three.
_MULTI_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_MULTI_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)


class Locator:
    """Line numbers of every key path in `text`."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._newlines = [i for i, char in enumerate(self._text) if char == "\n"]
        self._lines: dict[Path, int] = {}
        self._array_lengths: dict[Path, int] = {}
        self._at = 0
        self._scan()

    @property
    def paths(self) -> dict[Path, int]:
        """Every key path found, with its 1-based line."""
        return dict(self._lines)

    @property
    def last_line(self) -> int:
        """Number of the last line of the text, at least 1."""
        return max(1, len(self._text.splitlines()))

    def line(self, path: Path) -> int:
        """1-based line of `path`, or of its nearest known ancestor; 1 for the document itself."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    # -- statements ------------------------------------------------------------------------------

    def _scan(self) -> None:
        table: Path = ()
        while True:
            self._skip()
            if self._at >= len(self._text):
                return
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _array_header(self) -> Path:
        here = self._here()
        self._at += 2
        keys = self._keys()
        self._at += 2
        array = (*self._resolve(keys[:-1]), keys[-1])
        index = self._array_lengths.get(array, 0)
        self._array_lengths[array] = index + 1
        self._lines.setdefault(array, here)
        self._lines[(*array, index)] = here
        return (*array, index)

    def _header(self) -> Path:
        here = self._here()
        self._at += 1
        keys = self._keys()
        self._at += 1
        table = self._resolve(keys)
        self._note_ancestors(table, here)
        return table

    def _resolve(self, keys: list[str]) -> Path:
        """Keys of a header as a path: inside an array of tables its last element is meant."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._array_lengths:
                path = (*path, self._array_lengths[path] - 1)
        return path

    def _assignment(self, table: Path) -> None:
        here = self._here()
        path = (*table, *self._keys())
        self._note_ancestors(path, here)
        self._at += 1  # the equals sign
        self._value(path)

    # -- keys and values -------------------------------------------------------------------------

    def _keys(self) -> list[str]:
        """A dotted key; the scan position ends on the character after it."""
        keys = []
        while True:
            self._skip_blanks()
            keys.append(self._key())
            self._skip_blanks()
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return keys
            self._at += 1

    def _key(self) -> str:
        first = self._text[self._at]
        if first in "\"'":
            pattern = _BASIC_STRING if first == '"' else _LITERAL_STRING
            quoted = self._take(pattern)
            return str(tomllib.loads(f"key = {quoted}")["key"])
        return self._take(_BARE_KEY)

    def _value(self, path: Path) -> None:
        self._skip_blanks()
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif self._text.startswith('"""', self._at):
            self._take(_MULTI_BASIC)
        elif self._text.startswith("'''", self._at):
            self._take(_MULTI_LITERAL)
        elif first == '"':
            self._take(_BASIC_STRING)
        elif first == "'":
            self._take(_LITERAL_STRING)
        else:
            self._take(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip()
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._lines[(*path, index)] = self._here()
            self._value((*path, index))
            index += 1
            self._skip()
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip()
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._assignment(path)
            self._skip()
            if self._text[self._at] == ",":
                self._at += 1

    # -- the text --------------------------------------------------------------------------------

    def _note_ancestors(self, path: Path, line: int) -> None:
        for end in range(1, len(path) + 1):
            self._lines.setdefault(path[:end], line)

    def _here(self) -> int:
        return bisect_right(self._newlines, self._at - 1) + 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:  # not TOML: tomllib has not been asked first
            raise ValueError(f"line {self._here()}: text that is not TOML")
        self._at = match.end()
        return match.group()

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _skip(self) -> None:
        """Over blanks, line ends and comments."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in " \t\n":
                self._at += 1
            else:
                return
