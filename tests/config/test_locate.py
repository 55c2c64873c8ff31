"""The locator agrees with tomllib about which keys there are, and knows their lines."""

from __future__ import annotations

import tomllib
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config.locate import Locator, Path

REPOSITORY = FilePath(__file__).parents[2]

EVERYTHING = '''# comment = "not a key"
a = 1
"quoted key" = "with # and ] and }"  # a comment
'literal' = 'C:\\path'
dotted.b . c = 1979-05-27 07:32:00Z

[table]
text = """two
lines with "quotes" and \\""" escaped
end"""
raw = \'\'\'x
[not.a.header]
\'\'\'
after = true
list = [
  1,  # one
  [2, 3],
  { x = 1, y = [ 4,
    5 ], z.w = "}" },
]

[table.sub]
k = 0.5
[[rows]]
k = 1
[[rows]]
  [rows.inner]
  k = 2
  [[rows.deep]]
  k = 3
  [[rows.deep]]
  k = 4
[[rows]]
k = 5
empty = {}
none = []
'''


def paths_of(value: Any, here: Path = ()) -> set[Path]:
    found = {here} if here else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= paths_of(item, (*here, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            found |= paths_of(item, (*here, index))
    return found


def test_every_key_of_a_document_that_uses_all_of_toml_is_found() -> None:
    assert set(Locator(EVERYTHING).paths) == paths_of(tomllib.loads(EVERYTHING))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a",), "a = 1"),
        (("quoted key",), '"quoted key"'),
        (("dotted", "b", "c"), "dotted"),
        (("table",), "[table]"),
        (("table", "after"), "after"),
        (("table", "list", 1), "  [2, 3]"),
        (("table", "list", 2, "x"), "  { x"),
        (("table", "list", 2, "y", 1), "    5 ]"),
        (("table", "list", 2, "z", "w"), "    5 ]"),
        (("table", "sub", "k"), "k = 0.5"),
        (("rows", 0, "k"), "k = 1"),
        (("rows", 1, "inner", "k"), "  k = 2"),
        (("rows", 1, "deep", 1, "k"), "  k = 4"),
        (("rows", 2, "k"), "k = 5"),
    ],
)
def test_the_line_of_a_key_holds_that_key(path: Path, text: str) -> None:
    line = Locator(EVERYTHING).line(path)
    assert EVERYTHING.splitlines()[line - 1].startswith(text)


def test_an_unknown_key_takes_the_line_of_its_table() -> None:
    locator = Locator(EVERYTHING)
    assert locator.line(("rows", 2, "missing")) == locator.line(("rows", 2))
    assert locator.line(("missing",)) == 1


def test_windows_line_ends_count_once() -> None:
    assert Locator("a = 1\r\n\r\nb = 2\r\n").line(("b",)) == 3


@pytest.mark.parametrize("file", sorted((REPOSITORY / "firmware_config").rglob("*.toml")), ids=str)
def test_shipped_files_are_followed_to_the_last_key(file: FilePath) -> None:
    text = file.read_text(encoding="utf-8")
    assert set(Locator(text).paths) == paths_of(tomllib.loads(text))


KEYS = st.text("abc-_ #.]", min_size=1, max_size=4).map(lambda text: f'"{text}"')
SCALARS = st.one_of(
    st.integers().map(str),
    st.booleans().map(lambda flag: str(flag).lower()),
    st.text("ab #]}{[,'=.", max_size=6).map(lambda text: f'"{text}"'),
    st.text("ab\n#]", max_size=6).map(lambda text: f'"""{text}"""'),
    st.text("ab #]", max_size=6).map(lambda text: f"'{text}'"),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ",\n".join(items) + "\n]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{k} = {v}" for k, v in table.items()) + " }"
        ),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3),
)
def test_any_document_is_followed(table: dict[str, str], rows: list[dict[str, str]]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in table.items())
    for row in rows:
        text += "[[rows]] # next\n" + "".join(f"{key} = {value}\n" for key, value in row.items())
    assert set(Locator(text).paths) == paths_of(tomllib.loads(text))


def test_text_that_is_not_toml_is_refused_by_line() -> None:
    with pytest.raises(ValueError, match="line 2: text that is not TOML"):
        Locator("a = 1\n? = 2\n")
