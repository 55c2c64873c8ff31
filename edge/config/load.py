"""The one door into the configuration: `load` gives an Appliance, or every fault at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.config import (
    addresses,
    build,
    cross,
    cross_deviation,
    cross_mqtt,
    cross_opcua,
    cross_poll,
    cross_tls,
    cross_trim,
)
from edge.config.document import Document
from edge.config.faults import ConfigError, Fault, suggestion
from edge.config.keys import Protocol
from edge.config.read import parse
from edge.config.tables import FILE
from edge.config.types import Appliance
from edge.core.schedule import Schedule, parse_csv

__all__ = ["ConfigError", "Fault", "load"]

_LINE_NUMBER = re.compile(r"line (\d+): (.*)")


@dataclass(slots=True)
class _Site:
    """The directory being read: the faults found and the bytes that make the hash."""

    directory: Path
    faults: list[Fault] = field(default_factory=list)
    read: dict[str, bytes] = field(default_factory=dict)

    def bytes_of(self, file: str, remedy: str | None) -> bytes | None:
        """Contents of a file; None with a fault (or, without a remedy, silently) if missing."""
        try:
            raw = (self.directory / file).read_bytes()
        except FileNotFoundError:
            if remedy is not None:
                self.faults.append(Fault(file, 0, "", f"file is missing; {remedy}"))
            return None
        except OSError as error:
            reason = error.strerror or str(error)
            self.faults.append(
                Fault(file, 0, "", f"cannot be read: {reason}; correct its type or permissions")
            )
            return None
        self.read[file] = raw
        return raw

    def document(
        self, file: str, remedy: str | None, links: dict[str, Protocol] | None = None
    ) -> Document | None:
        """A checked TOML file; None if it is missing or not TOML."""
        raw = self.bytes_of(file, remedy)
        spec = FILE[file.rsplit("/", 1)[-1]]
        return None if raw is None else parse(spec, file, raw, self.faults, links)

    def schedule(self, line: Document) -> Schedule | None:
        """The schedule a line names, or None."""
        file = line.values.get("schedule")
        if file is None:
            return None
        try:
            raw = (self.directory / file).read_bytes()
        except OSError as error:
            line.fault(
                ("schedule",),
                f"schedule '{file}' cannot be read ({error.strerror or error}); the path is "
                "relative to the configuration directory",
            )
            return None
        self.read[file] = raw
        try:
            return parse_csv(raw.decode("utf-8-sig"))
        except ValueError as error:
            for text in str(error).splitlines() or ["not a schedule"]:
                match = _LINE_NUMBER.fullmatch(text)
                number, message = (int(match[1]), match[2]) if match else (0, text)
                self.faults.append(Fault(file, number, "", message))
            return None

    def sha256(self) -> str:
        """SHA-256 over name, length and bytes of every file read, sorted by name."""
        digest = hashlib.sha256()
        for name in sorted(self.read):
            digest.update(f"{name}\0{len(self.read[name])}\0".encode())
            digest.update(self.read[name])
        return digest.hexdigest()


def load(
    directory: Path | str,
    *,
    lines: Sequence[str] | None = None,
    state_dir: Path | None = None,
    runtime_dir: Path | None = None,
) -> Appliance:
    """Read the configuration directory.

    `lines` serves these lines instead of those of appliance.toml (a trial line, a replay);
    `state_dir` and `runtime_dir` replace the directories of appliance.toml (the demo).
    Raises ConfigError with every fault of every file. A missing bundle is no fault: the daemon
    starts without a model and says so.
    """
    site = _Site(Path(directory))
    appliance = site.document("appliance.toml", f"is {site.directory} the configuration directory?")
    names = _line_names(site, appliance, lines)
    if appliance is not None:
        cross_mqtt.check_mqtt(appliance, site.directory, names)
    sets = [line for name in names if (line := _line(site, name)) is not None]
    writers = [span for line in sets if (span := line.writer) is not None]
    addresses.check_writers(writers)
    if site.faults or appliance is None:
        raise ConfigError(_in_reading_order(site))
    return build.appliance(
        site.directory,
        appliance.values,
        [line.parts for line in sets],
        site.sha256(),
        state_dir,
        runtime_dir,
    )


def _in_reading_order(site: _Site) -> list[Fault]:
    """Faults by file, in the order the files were read, then by line; each said once."""
    order = {name: number for number, name in enumerate(site.read)}
    return sorted(
        dict.fromkeys(site.faults), key=lambda fault: (order.get(fault.file, -1), fault.line)
    )


def _line_names(
    site: _Site, appliance: Document | None, override: Sequence[str] | None
) -> list[str]:
    """Lines to read; a fault for each that has no folder."""
    folder = site.directory / "lines"
    known = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    names = []
    wanted = override
    if wanted is None:
        wanted = () if appliance is None else appliance.values.get("lines", ())
    for index, name in enumerate(wanted):
        if name in known and (folder / name).is_dir():
            names.append(name)
            continue
        message = f"line '{name}' has no folder lines/{name}; {suggestion(name, known)}"
        if override is None and appliance is not None:
            appliance.fault(("lines", index), message, key="lines")
        else:
            site.faults.append(Fault(f"lines/{name}", 0, "lines", message))
    return list(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class _LineSet:
    """The files of one line after their checks."""

    parts: build.LineParts
    writer: addresses.Span | None


def _line(site: _Site, name: str) -> _LineSet:
    """Read and check the files of one line; its parts are complete only if no fault was found."""
    folder = f"lines/{name}"
    _check_file_names(site, folder)
    line = site.document(f"{folder}/line.toml", "every line needs it; copy one from another line")
    link_rows = None if line is None else cross.named_rows(line, "link", "name")
    protocols: dict[str, Protocol] | None = None
    if link_rows is not None:
        protocols = {n: row["protocol"] for n, row in link_rows.items() if "protocol" in row}
    schedule = site.schedule(line) if line is not None else None
    components = site.document(
        f"{folder}/components.toml", "every line needs its components", protocols
    )
    tags = site.document(f"{folder}/tags.toml", "every line needs its tags", protocols)
    outputs = site.document(f"{folder}/outputs.toml", "every line needs its write list", protocols)
    trim = site.document(f"{folder}/trim.toml", None)

    codes = None if components is None else cross.named_rows(components, "component", "code")
    if line is not None:
        cross.check_line(line, schedule)
        cross_poll.check_groups(line)
        cross_opcua.check_security(line, site.directory)
        cross_tls.check_tls(line, site.directory)
    if components is not None:
        cross.check_components(components)
    if tags is not None:
        cross.check_tags(tags, link_rows, codes)
    if tags is not None and line is not None:
        cross_poll.check_tags(tags, line, link_rows)
    if outputs is not None:
        cross.check_outputs(outputs, link_rows)
    if line is not None:
        cross_deviation.check_deviation(line, tags)
    if trim is not None:
        cross_trim.check_trim(trim, line, tags, codes, outputs)
    writer = _check_addresses(line, tags, outputs, link_rows or {})

    def values(document: Document | None) -> dict[str, Any]:
        return {} if document is None else document.values

    parts = build.LineParts(
        name=name,
        line=values(line),
        tags=values(tags),
        components=values(components),
        outputs=values(outputs),
        trim=None if trim is None else trim.values,
        schedule=schedule,
    )
    return _LineSet(parts, writer)


def _check_file_names(site: _Site, folder: str) -> None:
    """A misspelt trim.toml must not quietly mean "no trim"."""
    permitted = [file for file in FILE if file != "appliance.toml"]
    for path in sorted((site.directory / folder).glob("*.toml")):
        if path.name not in permitted:
            message = f"unknown file; {suggestion(path.name, permitted)}"
            site.faults.append(Fault(f"{folder}/{path.name}", 0, "", message))


def _check_addresses(
    line: Document | None,
    tags: Document | None,
    outputs: Document | None,
    links: dict[str, dict[str, Any]],
) -> addresses.Span | None:
    """Address faults of one line; returns the span of its block W."""
    spans = [] if tags is None else addresses.tag_spans(tags, links)
    blocks: list[addresses.Span] = []
    writer = None
    if outputs is not None:
        writer = addresses.block_span(outputs, "block_w", links)
        reader = addresses.block_span(outputs, "block_r", links)
        blocks = [span for span in (writer, reader) if span is not None]
    forbidden = [] if line is None else addresses.forbidden_spans(line)
    addresses.check_overlaps(spans, blocks, forbidden)
    return writer
