"""`ncm-edge inventory`: what this appliance consists of, to read, for machines, or as a bill."""

from __future__ import annotations

import json
from pathlib import Path

from edge.config.types import Appliance
from edge.runtime.clock import Clock
from edge.service import inventory as found
from edge.service import sbom as bill
from edge.service.distributions import closure, installed


def inventory(appliance: Appliance, config: Path, clock: Clock, *, as_json: bool) -> int:
    """Print it. Returns 0, or 1 if a file of the installation was altered or a port is open."""
    document = found.document(appliance, config.resolve())
    document["made_s"] = round(clock.wall_s())
    bad = _findings(document)
    if as_json:
        print(json.dumps(document | {"findings": bad}, indent=2, ensure_ascii=False))
        return int(bool(bad))
    machine, runtime = document["machine"], document["runtime"]
    print(f"appliance {document['appliance']} on {machine['host']}")
    program = document["program"]
    print(f"  program     ncm-edge {program['version']}, {program['folder']}")
    print(f"  Python      {document['python']['version']}, {document['python']['program']}")
    print(f"  system      {machine['system']}, kernel {machine['kernel']}")
    print(f"  processor   {machine['processor']}, {machine['cores']} cores, {machine['memory']}")
    print(f"  runtime     ONNX Runtime {runtime['version'] or runtime['fault']}, "
          f"{', '.join(runtime.get('providers', []))}")  # fmt: skip
    print(f"  packages    {len(document['packages'])} (--json, --sbom)")
    print(f"  config      {document['configuration']['sha256']}, {config}")
    for line in document["lines"]:
        print(f"  line        {line['line']}: runs {line['release']}, floor {line['floor']}"
              f"{', ! ' + line['fault'] if line['fault'] else ''}")  # fmt: skip
    installation, ports = document["installation"], document["listening"]
    print("  service     " + (
        f"{len(installation['files'])} files of {installation['version']}"
        if installation["installed"] else "not installed (ncm-edge install)"))  # fmt: skip
    print("  listening   " + (
        ", ".join(ports["ports"]) or "none" if ports["known"] else f"not known: {ports['why']}"))
    total = sum(document["state"]["bytes"].values()) / 1e6
    print(f"  state       {total:.1f} MB in {document['state']['folder']}")
    for text in bad:
        print(f"! {text}")
    return int(bool(bad))


def sbom(appliance: Appliance, clock: Clock) -> int:
    """Print the software bill of materials."""
    document = bill.document(
        closure(installed()), found.models(appliance), wall_s=clock.wall_s()
    )
    print(json.dumps(document, indent=1))
    return 0


def _findings(document: dict[str, object]) -> list[str]:
    installation, ports = document["installation"], document["listening"]
    assert isinstance(installation, dict)
    assert isinstance(ports, dict)
    bad = [f"{name}: {state}" for name, state in installation.get("files", {}).items()
           if state != "as installed"]  # fmt: skip
    filter_ = installation.get("address_filter", "current")
    if filter_ != "current":
        bad.append(str(filter_))
    bad += [f"listens on {port}; nothing should" for port in ports.get("ports", [])]
    return bad
