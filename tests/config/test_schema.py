"""The generated files are up to date, and the schemas say the same as the check."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.config import schema
from edge.config.tables import FILE

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "firmware_config"
SITE = Path(__file__).parent / "site"
FILES = sorted((*CONFIG.rglob("*.toml"), *SITE.rglob("*.toml")))
REMEDY = f"out of date; run {schema.COMMAND}"


def validator(file: str) -> Any:
    text = (CONFIG / "schema" / file.replace(".toml", ".json")).read_text(encoding="utf-8")
    return jsonschema.Draft7Validator(json.loads(text))


def test_schemas_are_up_to_date() -> None:
    wanted = schema.json_schemas()
    folder = CONFIG / "schema"
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted), REMEDY
    for name, text in wanted.items():
        assert (folder / name).read_text(encoding="utf-8") == text, f"{name}: {REMEDY}"


def test_documentation_is_up_to_date() -> None:
    path = REPOSITORY / "docs" / "configuration.md"
    assert path.read_text(encoding="utf-8") == schema.configuration_markdown(), REMEDY


@pytest.mark.parametrize("file", FILE)
def test_schemas_are_schemas(file: str) -> None:
    jsonschema.Draft7Validator.check_schema(validator(file).schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_without_faults_satisfy_their_schema(path: Path) -> None:
    validator(path.name).validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.toml")), ids=lambda path: path.name)
def test_shipped_files_name_their_schema_for_the_editor(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = (path.parent / first.removeprefix("#:schema ")).resolve()
    assert named == CONFIG / "schema" / path.name.replace(".toml", ".json")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lines/a/tags.toml", "address = 4,", "adress = 4,"),
        ("lines/a/tags.toml", "address = 4,", "address = 400005,"),
        ("lines/a/tags.toml", 'node = "s=A106"', 'node = "s=A106", address = 5'),
        ("lines/a/tags.toml", 'node = "s=A106"', 'node = "ns=2;s=A106"'),
        ("lines/a/trim.toml", "ttl_s = 900\n", ""),
        ("lines/a/trim.toml", "authority_fraction = 0.10", "authority_fraction = 0.0"),
        ("lines/a/outputs.toml", "address = 1000", "address = 1000\ncount = 32"),
        ("lines/a/line.toml", 'protocol = "opc-ua"', 'protocol = "opcua"'),
    ],
)
def test_an_editor_sees_what_the_check_sees(file: str, old: str, new: str) -> None:
    text = (SITE / file).read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(jsonschema.ValidationError):
        validator(Path(file).name).validate(tomllib.loads(text.replace(old, new)))


def test_writing_gives_the_same_files(tmp_path: Path) -> None:
    schema.write_schema(tmp_path / "firmware_config")
    schema.write_docs(tmp_path / "docs")
    names = sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file())
    assert names == sorted([*schema.json_schemas(), "configuration.md"])
