"""The software bill of materials: CycloneDX 1.6 as JSON, from packages and models.

https://cyclonedx.org/docs/1.6/json/. Pure: the caller knows the time and the files. The serial
number follows from the content, so that the same parts give the same document.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edge.service.distributions import Package

PROGRAM = "ncm-edge"
_SPACE = uuid.UUID("6f1d5c0e-0f0a-5e0c-9a3e-8f4b0d6c2a11")


def document(
    packages: Sequence[Package], models: Mapping[str, Mapping[str, str]], *, wall_s: float
) -> dict[str, Any]:
    """The bill.

    Args:
        packages: as `distributions.closure` gives them; ncm-edge is one of them.
        models: bundle -> file name -> SHA-256.
        wall_s: when it is made, epoch seconds.
    """
    own = next(one for one in packages if one.name == PROGRAM)
    parts = [_library(one) for one in packages if one.name != PROGRAM]
    parts += [_model(name, files) for name, files in sorted(models.items())]
    needs = [
        {"ref": _ref(one), "dependsOn": sorted(_ref(p) for p in packages if p.name in one.requires)}
        for one in packages
    ]
    needs += [{"ref": _model_ref(name)} for name in sorted(models)]
    for entry in needs:
        if entry["ref"] == _ref(own):
            entry["dependsOn"] = sorted([*entry["dependsOn"], *map(_model_ref, models)])
    content = json.dumps([_application(own), parts, needs], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": _application(own),
        },
        "components": parts,
        "dependencies": needs,
    }


def _ref(one: Package) -> str:
    return f"pkg:pypi/{one.name}@{one.version}"


def _model_ref(name: str) -> str:
    return f"model:{name}"


def _application(own: Package) -> dict[str, Any]:
    return {**_library(own), "type": "application"}


def _library(one: Package) -> dict[str, Any]:
    part: dict[str, Any] = {
        "type": "library", "bom-ref": _ref(one), "name": one.name, "version": one.version,
        "purl": _ref(one),
    }  # fmt: skip
    if one.author:
        part["author"] = one.author
    if one.summary:
        part["description"] = one.summary
    if one.expression:
        part["licenses"] = [{"expression": one.expression}]
    elif one.license:
        part["licenses"] = [{"license": {"name": one.license}}]
    if one.sha256:
        part["hashes"] = [{"alg": "SHA-256", "content": one.sha256}]
    return part


def _model(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model", "bom-ref": _model_ref(name), "name": name,
        "components": [
            {
                "type": "file", "name": file, "bom-ref": f"{_model_ref(name)}/{file}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for file, digest in sorted(files.items())
        ],
    }  # fmt: skip
