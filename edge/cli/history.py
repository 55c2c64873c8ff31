"""`ncm-edge history`, `archive` and `report`: what the appliance kept, for people and for training.

All of them read beside a running daemon and change nothing, but for `archive`, which notes that a
batch was exported. Exit codes: 0 fine; 1 the log is broken, or a batch could not be exported;
2 a user's mistake, an unknown batch, a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.progress import bar
from edge.core.verdict import SEVERITY
from edge.runtime.chain import Broken, Head, plain
from edge.runtime.store.reader import History, HistoryError, StoredBatch
from edge.runtime.store.schema import FILE_NAME
from edge.runtime.store.sentences import event_words

if TYPE_CHECKING:
    from edge.config.types import Appliance


def path_of(appliance: Appliance, file: Path | None) -> Path:
    """The history file: the one given, else the configured one."""
    return file or appliance.history.directory / FILE_NAME


@contextmanager
def _said(path: Path, out: Path | None = None) -> Iterator[None]:
    """What cannot be read, or written to `out`, ends with its message and exit code 2."""
    try:
        yield
    except HistoryError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise  # `ncm-edge history list | head`: nobody's fault
    except OSError as error:
        print(f"{error.filename or out or path}: {error.strerror or error}; name another place "
              "with --out, or free some room", file=sys.stderr)  # fmt: skip
        raise SystemExit(2) from None
    except sqlite3.Error as error:
        print(f"{path}: the export could not be noted: {error}; the file is written, the batch "
              "stays protected: try again", file=sys.stderr)  # fmt: skip
        raise SystemExit(2) from None


def history(path: Path, options: argparse.Namespace) -> int:
    """`ncm-edge history list | show BATCH | verify`."""
    action: Callable[[History, argparse.Namespace], int] = {
        "list": _list, "show": _show, "verify": _verify,
    }[options.action]  # fmt: skip
    with _said(path), History(path) as found:
        return action(found, options)


def _list(found: History, options: argparse.Namespace) -> int:
    batches = [b for b in found.batches() if not options.line or b.line in options.line]
    if options.json:
        print(json.dumps([asdict(b) for b in batches], indent=2))
        return 0
    print(f"{'LINE':10}{'BATCH':>10}  {'BEGAN (UTC)':18}{'HOURS':>6}  {'STATE':10}{'WORST':8}"
          "EXPORTED")  # fmt: skip
    for b in batches:
        hours = (b.last_s - b.began_s) / 3600.0
        print(
            f"{b.line:10}{b.batch_id:10d}  {utc(b.began_s):18}{hours:6.1f}  {b.state:10}"
            f"{SEVERITY[b.severity]:8}{utc(b.exported_s) if b.exported_s else '-'}"
            f"{'  simulated' if b.simulation else ''}"
        )
    print(f"{len(batches)} batches in {found.path}")
    return 0


def one(found: History, options: argparse.Namespace) -> StoredBatch:
    """The batch the options name. Raises HistoryError."""
    return found.batch(options.batch, (options.line or [""])[0], options.key)


def _show(found: History, options: argparse.Namespace) -> int:
    if options.batch is None:
        print("which batch? ncm-edge history show NUMBER; `ncm-edge history list` shows all",
              file=sys.stderr)  # fmt: skip
        return 2
    batch = one(found, options)
    events = list(found.events(line=batch.line, first_s=batch.began_s, last_s=batch.last_s))
    if options.json:
        document = {"batch": asdict(batch), "events": [asdict(e) for e in events]}
        print(json.dumps(plain(document), indent=2, ensure_ascii=False))
        return 0
    rows, steps = found.rows(batch), found.steps(batch)
    kept = len(rows.times)
    print(f"line {batch.line}, batch {batch.batch_id} (key {batch.key}): {batch.state}")
    if batch.simulation:
        print(f"  SIMULATED   {batch.simulation}")
    print(f"  from        {utc(batch.began_s)} to {utc(batch.last_s)} UTC, batch minute "
          f"{batch.first_minute:.0f} to {batch.minutes:.0f}")  # fmt: skip
    print(f"  worst       {SEVERITY[batch.severity]}; {len(steps)} model steps")
    print(f"  rows        {kept} kept{f', {rows.damaged} minutes damaged' if rows.damaged else ''}")
    print(f"  model       {batch.model}")
    print(f"  config      {batch.config_sha256}")
    print(f"  exported    {utc(batch.exported_s) if batch.exported_s else 'no'}")
    for event in events:
        print(f"  {utc(event.t_s)}  {event.kind:12}{event_words(event)}")
    return 0


def _verify(found: History, options: argparse.Namespace) -> int:
    damage = found.damage()
    try:
        known = Head.parse(options.head) if options.head else found.noted_head()
    except ValueError as error:
        print(f"--head: {error}", file=sys.stderr)
        return 2
    head = found.verify(known)
    if damage:
        print(f"{found.path}: DAMAGED: {damage}")
    if isinstance(head, Broken):
        print(f"{found.path}: BROKEN: event {head.number} {head.why}")
        return 1
    print(f"{found.path}: {head.number} events, every one follows from the one before")
    if known is None:
        print("no head was noted: that the newest events were cut off would not be seen")
    print(f"head {head}")
    print("note it elsewhere; `ncm-edge history verify --head ...` then proves that nothing up to "
          "it was changed")  # fmt: skip
    return 1 if damage else 0


def utc(t_s: float) -> str:
    """A time in UTC to the minute, as people write it."""
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%d %H:%M")


def archive(path: Path, appliance: Appliance, config: Path, options: argparse.Namespace) -> int:
    """`ncm-edge archive`: finished batches as Parquet, and what it takes to learn from them."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        print("ncm-edge archive needs pyarrow: pip install 'ncm-edge[archive]', or copy "
              f"{path} to a workstation that has it and add --file", file=sys.stderr)  # fmt: skip
        return 2
    from edge.runtime.store import archive as store_archive
    from edge.runtime.store.archive import ArchiveError
    from edge.runtime.store.records import Event
    from edge.runtime.store.writer import mark_exported

    with _said(path, options.out), History(path, write=True) as found:
        wanted = _wanted(found, options)
        lines = {line.name: line for line in appliance.lines}
        failed = 0
        for batch in bar(wanted, "archive"):
            line = lines.get(batch.line)
            if line is None:
                print(f"batch {batch.batch_id}: line {batch.line} is not configured; add "
                      f"--line {batch.line}", file=sys.stderr)  # fmt: skip
                failed += 1
                continue
            try:
                done = store_archive.export(found, batch, line, options.out)
            except ArchiveError as error:
                print(error, file=sys.stderr)
                failed += 1
                continue
            except (MemoryError, OverflowError, ValueError) as error:
                # One odd batch must not keep those after it from the archive.
                print(f"batch {batch.batch_id}: {type(error).__name__} {error}; not exported",
                      file=sys.stderr)  # fmt: skip
                failed += 1
                continue
            body = {"batch_id": batch.batch_id, "file": str(done.path), "rows": done.rows}
            event = Event(t_s=_now_s(), line=batch.line, kind="export", body=body)
            mark_exported(found.connection, batch.key, event)
            gaps = f", {done.gaps} of them gaps" if done.gaps else ""
            note = "  simulated" if batch.simulation else ""
            print(f"{done.path}: {done.rows} rows{gaps}, {done.size_bytes / 1e6:.1f} MB{note}")
            for text in done.notes:
                print(f"  {text}")
        present = [
            lines[name] for name in sorted({b.line for b in found.batches()}) if name in lines
        ]
        options.out.mkdir(parents=True, exist_ok=True)
        store_archive.write_companions(found, present, options.out, config)
        running = sum(b.ended_s is None for b in found.batches())
        print(f"{len(wanted) - failed} batches exported to {options.out}"
              + (f", {failed} not" if failed else "")
              + (f", {running} still running" if running else ""))  # fmt: skip
    return 1 if failed else 0


def report(path: Path, appliance: Appliance, options: argparse.Namespace) -> int:
    """`ncm-edge report BATCH`: one self-contained page."""
    from edge import __version__
    from edge.runtime.store import report_page

    with _said(path, options.out), History(path) as found:
        batch = one(found, options)
        line = next((x for x in appliance.lines if x.name == batch.line), None)
        text = report_page.page(report_page.told(found, batch, line, event_words), __version__)
        out = options.out or Path(f"batch-{batch.batch_id}.html")
        unfinished = out.with_name(out.name + ".new")
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
        unfinished.replace(out)
        note = ", simulated" if batch.simulation else ""
        print(f"{out}: batch {batch.batch_id} of line {batch.line}, {len(text) / 1e3:.0f} kB{note}")
    return 0


def _wanted(found: History, options: argparse.Namespace) -> Sequence[StoredBatch]:
    """Finished batches: those named, else all that were not exported yet (or all, with --again)."""
    if options.batch is not None:
        batch = one(found, options)
        if batch.ended_s is None:
            raise HistoryError(f"batch {batch.batch_id}: is still {batch.state}; export it when it "
                               "has ended")  # fmt: skip
        return [batch]
    return [
        b for b in found.batches()
        if b.ended_s is not None and (options.again or b.exported_s is None)
        and (not options.line or b.line in options.line)
    ]  # fmt: skip


def _now_s() -> float:
    from edge.runtime.clock import SystemClock

    return SystemClock().wall_s()
