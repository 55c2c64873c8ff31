"""Whatever happens to a file, the answer is a configuration or faults with a place."""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config.keys import Section
from edge.config.load import ConfigError, load
from edge.config.tables import FILE

SITE = Path(__file__).parent / "site"
NAMES = (
    "appliance.toml", "lines/a/line.toml", "lines/a/tags.toml", "lines/a/outputs.toml",
    "lines/a/components.toml", "lines/a/trim.toml",
)  # fmt: skip
TABLES = {name: tomllib.loads((SITE / name).read_text(encoding="utf-8")) for name in NAMES}
Place = tuple[str, tuple[str | int, ...]]


def toml(value: Any) -> str:
    """A value as TOML, tables inline: enough for the site's types."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {toml(item)},\n" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def places(section: Section, value: dict[str, Any], here: tuple[str | int, ...]) -> list[Any]:
    """(path, whether the key is required) of every key that is set."""
    found: list[Any] = []
    for name, item in value.items():
        key = section.key(name)
        assert key is not None
        found.append(((*here, name), key.required))
        rows = [item] if isinstance(item, dict) else item if isinstance(item, list) else []
        for index, row in enumerate(rows):
            if isinstance(row, dict) and key.section is not None:
                step = (name,) if isinstance(item, dict) else (name, index)
                found += places(key.section, row, (*here, *step))
    return found


SET = [
    (name, path, required)
    for name in NAMES
    for path, required in places(FILE[name.rsplit("/", 1)[-1]].section, TABLES[name], ())
]


def faults_of(name: str, content: str | bytes) -> tuple[Any, ...]:
    """Faults of the site with one file replaced; empty if there are none."""
    raw = content.encode() if isinstance(content, str) else content
    with tempfile.TemporaryDirectory() as directory:
        site = Path(directory) / "site"
        shutil.copytree(SITE, site)
        (site / name).write_bytes(raw)
        try:
            load(site)
        except ConfigError as error:
            return error.faults or (None,)  # an error without a fault fails every test here
    return ()


def changed(name: str, path: tuple[str | int, ...], new_key: str | None, value: Any) -> str:
    """The file with one key renamed, deleted (None) or given another value."""
    data = json.loads(json.dumps(TABLES[name]))
    table = data
    for step in path[:-1]:
        table = table[step]
    old = table.pop(path[-1])
    if new_key is not None:
        table[new_key] = old if value is None else value
    return "".join(f"{key} = {toml(item)}\n" for key, item in data.items())


@settings(deadline=None)
@given(st.sampled_from([place for place in SET if place[2]]))
def test_a_deleted_key_is_missed(place: tuple[str, tuple[str | int, ...], bool]) -> None:
    name, path, _ = place
    faults = faults_of(name, changed(name, path, None, None))
    assert any(fault.line > 0 and fault.file == name for fault in faults)
    assert any(f"'{path[-1]}'" in fault.message for fault in faults)


@settings(deadline=None)
@given(st.sampled_from(SET), st.data())
def test_a_misspelt_key_is_found_and_what_was_meant_is_said(
    place: tuple[str, tuple[str | int, ...], bool], data: st.DataObject
) -> None:
    name, path, _ = place
    word = str(path[-1])
    at = data.draw(st.integers(0, len(word)))
    misspelt = word[:at] + data.draw(st.sampled_from("qxj")) + word[at:]
    faults = faults_of(name, changed(name, path, misspelt, None))
    mine = [fault for fault in faults if f"unknown key '{misspelt}'" in fault.message]
    assert len(mine) == 1
    assert mine[0].file == name
    assert mine[0].line > 0
    # One letter too many is recognised, unless the word is so short that it could be anything.
    assert len(word) <= 2 or f"did you mean '{word}'?" in mine[0].message


JUNK = st.one_of(
    st.none().map(lambda _: []), st.booleans(), st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9),
    st.text("aB1 .-/=", max_size=8), st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(deadline=None)
@given(st.sampled_from(SET), JUNK)
def test_a_wrong_value_never_crashes(
    place: tuple[str, tuple[str | int, ...], bool], value: Any
) -> None:
    name, path, _ = place
    for fault in faults_of(name, changed(name, path, str(path[-1]), value)):
        assert fault.line > 0
        assert fault.message


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_a_damaged_file_never_crashes(name: str, data: st.DataObject) -> None:
    raw = (SITE / name).read_bytes()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    faults_of(name, raw[:start] + data.draw(st.binary(max_size=5)) + raw[end:])
