"""A new configuration for a running appliance: built, dry-read, and only then swapped in.

::

    load and check -> models -> new links connect and read once -> rings -> swap between rows
         |              |                  |                        |
         +--------------+------- refused whole, nothing was touched +

Everything that can fail comes before the swap. A link whose connection and reads are the same goes
on with its connection: a changed limit or text costs the PLC nothing. A new or changed link is
connected *beside* the old one and must answer every value that is not missing already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from edge.config.faults import ConfigError
from edge.config.types import Appliance, Line, ModbusLink
from edge.drivers import asks, blocks_of, build, rows_of
from edge.drivers.base import Driver
from edge.runtime import assemble
from edge.runtime.bundle import LoadedBundle
from edge.runtime.clock import Clock
from edge.runtime.dry_read import dry_read
from edge.runtime.infer import Engine
from edge.runtime.line import RING, LineRunner
from edge.runtime.ringfile import RingBusy, RingFile, discard, open_beside, put_in_place
from edge.runtime.store.store import Store
from edge.runtime.successor import Successor

log = logging.getLogger("ncm-edge")


class ReloadRefused(Exception):  # noqa: N818 - a refusal, not a fault
    """The new configuration is not taken; the message has a line a fault, each with its remedy."""


@dataclass(slots=True)
class _Plan:
    """What a reload is going to do; `close` undoes the preparation."""

    successors: list[tuple[LineRunner, Successor]] = field(default_factory=list)
    kept: list[tuple[LineRunner, Line, Engine | None]] = field(default_factory=list)
    added: list[LineRunner] = field(default_factory=list)
    probes: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    """(line, link) -> `run()` of a new driver, until its line has taken it over."""
    rings: dict[str, RingFile] = field(default_factory=dict)
    """Line -> its new ring, likewise."""

    def taken(self, line: str) -> None:
        """The line runs on what was prepared for it."""
        self.probes = {key: task for key, task in self.probes.items() if key[0] != line}
        self.rings.pop(line, None)

    async def close(self) -> None:
        """Give up every connection and file made for the new configuration."""
        for task in self.probes.values():
            task.cancel()
        await asyncio.gather(*self.probes.values(), return_exceptions=True)
        for ring in self.rings.values():
            discard(ring)
        for runner in self.added:
            runner.ring.close()


@dataclass(frozen=True, slots=True)
class _Means:
    """What the caller lends."""

    clock: Clock
    store: Store
    place: Callable[[Line], Path]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The appliance after an accepted reload."""

    appliance: Appliance
    lines: tuple[LineRunner, ...]
    """In the order of the configuration; those not among the old ones have not run yet."""
    text: str
    """What changed."""


async def reload(
    old: Appliance,
    lines: Iterable[LineRunner],
    load: Callable[[], Appliance],
    clock: Clock,
    store: Store,
    place: Callable[[Line], Path],
) -> Reloaded:
    """Take the configuration that `load` finds, or raise ReloadRefused with nothing changed.

    `place`: where the bundle of a line lies, for an installed release decides over the configured
    bundle. Lines that are gone are left to the caller, who owns their tasks.
    """
    running = {runner.line.name: runner for runner in lines}
    plan = _Plan()
    try:
        try:
            new = await asyncio.to_thread(load)
            _same_process(old, new)
            await _prepare(plan, new, running, _Means(clock, store, place))
        except ConfigError as error:
            raise ReloadRefused(str(error)) from error
        except ReloadRefused:
            raise
        except Exception as error:
            # Ours, not the plant's; a line that runs well must not end for it.
            log.exception("reload: a fault of this program")
            raise ReloadRefused(f"a fault of this program, in the journal: {error!r}") from error
        said = await _commit(plan, new, old.config_sha256)
    except BaseException:
        await plan.close()
        raise
    names = [line.name for line in new.lines]
    said += [f"line {runner.line.name} added" for runner in plan.added]
    said += [f"line {name} removed" for name in running if name not in names]
    said += ["mqtt changed"] if new.mqtt != old.mqtt else []
    now = {runner.line.name: runner for runner in (*running.values(), *plan.added)}
    return Reloaded(new, tuple(now[name] for name in names), "; ".join(said) or "no change")


async def _commit(plan: _Plan, new: Appliance, old_sha256: str) -> list[str]:
    """Swap, line by line; nothing in here can refuse any more. Returns what changed."""
    said = []
    for runner, line, engine in plan.kept:
        bundle = None if engine is None else engine.bundle
        runner.core.setup = assemble.setup_of(new, line, bundle)
        if new.config_sha256 != old_sha256:
            runner.recorder.adopt(line, engine, new.config_sha256)
    for runner, successor in plan.successors:
        said.append(_changes(runner.line, successor))
        name, ring = successor.line.name, successor.ring
        if successor.engine is not runner.engine:
            assemble.log_engine(successor.line, successor.engine, successor.refused)
        await runner.hand_over(successor)
        plan.taken(name)
        if ring is not None:
            log.warning("line %s: %s", name, ring.message)
            try:
                await asyncio.to_thread(put_in_place, ring, new.state_dir / name / RING)
            except OSError as error:
                log.error("line %s: %s keeps its name: %s", name, ring.path, error)
    return said


def _same_process(old: Appliance, new: Appliance) -> None:
    """What is fixed when the process starts cannot be changed under it."""
    fixed = [
        f'appliance.toml: {key} = "{after}" was "{before}" when the daemon started; it changes '
        "only with a restart (systemctl restart ncm-edge)"
        for key in ("state_dir", "runtime_dir", "provider", "metrics_file", "history")
        if (before := getattr(old, key)) != (after := getattr(new, key))
    ]
    if fixed:
        raise ReloadRefused("\n".join(fixed))


async def _prepare(
    plan: _Plan, new: Appliance, running: Mapping[str, LineRunner], means: _Means
) -> None:
    """Fill the plan, cheapest first: models, then links, then the files of rings."""
    faults: list[str] = []
    engines: dict[str, tuple[Engine | None, assemble.Refusal | None]] = {}
    for line in new.lines:
        engines[line.name] = await _engine(
            line, running.get(line.name), new, means.place(line), faults
        )
    _refuse(faults)
    changed = [
        (runner, line)
        for line in new.lines
        if (runner := running.get(line.name)) is not None
        and (line != runner.line or engines[line.name] != (runner.engine, runner.refused))
    ]
    drivers = {
        line.name: _drivers(plan, runner, line, running, means.clock, faults)
        for runner, line in changed
    }
    _refuse(faults)
    checks = [
        dry_read(drivers[line.name][name], line, name, plan.probes[line.name, name], runner)
        for runner, line in changed
        for name in drivers[line.name]
        if (line.name, name) in plan.probes
    ]
    _refuse(text for text in await asyncio.gather(*checks) if text)
    for line in new.lines:
        runner, (engine, refused) = running.get(line.name), engines[line.name]
        if runner is None:
            plan.added.append(await _added(new, line, engine, refused, means))
        elif (runner, line) not in changed:
            plan.kept.append((runner, line, engine))
    for runner, line in changed:
        engine, refused = engines[line.name]
        ring = await _ring(new, runner, line)
        if ring is not None:
            plan.rings[line.name] = ring
        successor = Successor(
            line=line,
            setup=assemble.setup_of(new, line, None if engine is None else engine.bundle),
            drivers=drivers[line.name],
            running={k: task for (name, k), task in plan.probes.items() if name == line.name},
            engine=engine,
            refused=refused,
            ring=ring,
            config_sha256=new.config_sha256,
            taken=asyncio.get_running_loop().create_future(),
        )
        plan.successors.append((runner, successor))


def _refuse(faults: Iterable[str]) -> None:
    if found := list(faults):
        raise ReloadRefused("\n".join(found))


async def _engine(
    line: Line, runner: LineRunner | None, new: Appliance, place: Path, faults: list[str]
) -> tuple[Engine | None, assemble.Refusal | None]:
    """The engine at hand where the bundle on the disk is still its own, else a new one."""
    bundle = await asyncio.to_thread(assemble.bundle_of, line, place)
    had = None if runner is None else runner.engine
    if had is not None and isinstance(bundle, LoadedBundle) and _same(bundle, had.bundle):
        return had, None
    engine, refused = await asyncio.to_thread(assemble.build_engine, bundle, new.provider)
    if had is not None and refused is not None:
        faults.append(
            f"line {line.name}: {refused[0]}: {refused[1]}; the line has a model and a reload does "
            "not take it away: give a bundle made for these tags, or restart to run without one"
        )
    return engine, refused


def _same(a: LoadedBundle, b: LoadedBundle) -> bool:
    return (a.model_sha256, a.card, a.directory) == (b.model_sha256, b.card, b.directory)


def _drivers(
    plan: _Plan,
    runner: LineRunner,
    line: Line,
    running: Mapping[str, LineRunner],
    clock: Clock,
    faults: list[str],
) -> dict[str, Driver]:
    """Driver of each link: the running one if it asks for the same, else a new, connecting one."""
    out: dict[str, Driver] = {}
    serial = {
        link.device
        for other in running.values()
        for link in other.line.links
        if isinstance(link, ModbusLink) and link.protocol == "modbus-rtu"
    }
    for link in line.links:
        name = link.name
        if name in runner.drivers and asks(line, name) == asks(runner.line, name):
            out[name] = runner.drivers[name]
            continue
        if isinstance(link, ModbusLink) and link.protocol == "modbus-rtu" and link.device in serial:
            faults.append(
                f"line {line.name}: link {name}: {link.device} is in use and a serial port has one "
                "owner, so the change cannot be tried beside it; systemctl restart ncm-edge"
            )
            continue
        out[name] = build(link, rows_of(line, name), blocks_of(line, name), clock)
        plan.probes[line.name, name] = asyncio.create_task(
            out[name].run(), name=f"{line.name} link {name} (new)"
        )
    return out


async def _added(
    new: Appliance,
    line: Line,
    engine: Engine | None,
    refused: assemble.Refusal | None,
    means: _Means,
) -> LineRunner:
    try:
        ring = await asyncio.to_thread(assemble.ring_of, new, line)
    except RingBusy as error:
        raise ReloadRefused(f"line {line.name}: {error}") from error
    return assemble.build_runner(new, line, ring, engine, refused, means.clock, means.store)


async def _ring(new: Appliance, runner: LineRunner, line: Line) -> RingFile | None:
    """A new ring where the rows are made of something else; None where they go on."""
    was, tags = runner.line, assemble.tags_of(line)
    if (assemble.tags_of(was), was.ring_rows, was.row_s) == (tags, line.ring_rows, line.row_s):
        return None
    path = new.state_dir / line.name / RING
    try:
        ring = await asyncio.to_thread(open_beside, path, tags, line.ring_rows, line.row_s)
    except (OSError, RingBusy) as error:
        raise ReloadRefused(f"line {line.name}: ring file {path}: {error}; free room") from error
    ring.opened = "replaced"
    ring.message = (
        f"ring file {path}: made for {len(was.tags)} tags x {was.ring_rows} rows of {was.row_s:g} "
        f"s, the configuration now has {len(tags)} x {line.ring_rows} of {line.row_s:g} s or other "
        "names; set aside, started anew"
    )
    return ring


def _changes(was: Line, to: Successor) -> str:
    """One line's changes in a few words."""
    line = to.line
    names = [f.name for f in fields(Line) if getattr(was, f.name) != getattr(line, f.name)]
    said = f"line {line.name}: {', '.join(names) or 'model'} changed"
    if to.running:
        said += f"; link {', '.join(to.running)} connected anew"
    if to.ring is not None:
        said += "; its ring starts anew"
    return said
