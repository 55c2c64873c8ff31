"""`ncm-edge install`: the service on this machine or in an image, and off it again.

Exit codes: 0 done; 1 a command or the disk failed (running it again completes it); 2 a mistake, or
this machine cannot be installed on. Nothing is changed before all of that is known.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

from edge import __version__
from edge.config.load import ConfigError, load
from edge.config.types import Appliance
from edge.service import network, place, plan, record, shipped
from edge.service.actions import Action, FailedError, Remove, Write, below, perform
from edge.service.record import Record

DONE, FAILED, MISTAKE = 0, 1, 2
LIVE = Path("/")


class _RefusedError(Exception):
    """Nothing was done; the message says why, a line for each reason."""


def install(
    *, root: Path, site: Path | None, program: PurePosixPath | None, dry_run: bool, offline: bool,
    start: bool, downgrade: bool, network_only: bool,
) -> int:  # fmt: skip
    """Install, or bring an installation up to date. Returns the exit code."""
    try:
        before, live = _before(root), root == LIVE and not offline
        _machine(root, live=live, dry_run=dry_run, start=start)
        if before and record.newer(before.version, __version__) and not downgrade:
            raise _RefusedError(
                f"ncm-edge {before.version} is installed ({before.program}), this is the older "
                f"{__version__}; --downgrade if that is meant"
            )
        if network_only and before is None:
            raise _RefusedError("nothing is installed yet; ncm-edge install writes the filter")
        source = None if network_only else _source(root, site)
        appliance = _load(source or root / shipped.CONFIGURATION.relative_to("/"))
        if network_only and before is not None:
            actions = plan.network_only(root, appliance, before, live=live)
        else:
            if program is None:
                program = shipped.PROGRAM if root != LIVE else place.own_program(
                    before.program if before else None)  # fmt: skip
            faults = place.program_faults(program, root)
            if faults:
                raise _RefusedError("\n".join(faults))
            actions = plan.install(
                root, appliance, program=program, source=source, before=before, live=live,
                start=start,
            )  # fmt: skip
    except (_RefusedError, shipped.NotShippedError, ValueError) as error:
        print(error, file=sys.stderr)
        return MISTAKE
    code = _carry_out(actions, root, dry_run=dry_run)
    return code if code != DONE or dry_run else _faults(root)


def uninstall(*, root: Path, dry_run: bool, offline: bool) -> int:
    """Remove the service; configuration, state and program stay. Returns the exit code."""
    try:
        before, live = _before(root), root == LIVE and not offline
        _machine(root, live=live, dry_run=dry_run, start=False)
        kept = [shipped.CONFIGURATION, shipped.STATE]
        configuration = root / shipped.CONFIGURATION.relative_to("/")
        try:
            appliance = load(configuration)
            kept += [PurePosixPath(appliance.state_dir), PurePosixPath(appliance.history.directory)]
        except ConfigError:
            pass  # it is being removed; what cannot be read stays where it is
        kept = [one for one in dict.fromkeys(kept)
                if not any(other in one.parents for other in kept)]  # fmt: skip
        actions = plan.uninstall(root, before, kept, live=live)
    except (_RefusedError, shipped.NotShippedError, ValueError) as error:
        print(error, file=sys.stderr)
        return MISTAKE
    return _carry_out(actions, root, dry_run=dry_run)


def network_warning(config: Path) -> str:
    """What `ncm-edge check` adds: that the address filter of this machine is stale; else ""."""
    if config.resolve() != Path(shipped.CONFIGURATION) or not _exists(record.PLACE):
        return ""
    try:
        text = Path(network.PLACE).read_text(encoding="utf-8")
    except OSError:
        text = None
    return network.fault(load(config), text)


def _exists(place_: PurePosixPath) -> bool:
    return Path(place_).exists()


def _before(root: Path) -> Record | None:
    if not root.is_dir():
        raise _RefusedError(f"--root {root}: is no folder; make it, or mount the image there")
    return record.read(root)


def _machine(root: Path, *, live: bool, dry_run: bool, start: bool) -> None:
    if start and not live:
        raise _RefusedError("--start: nothing runs in an image; leave it out")
    if root == LIVE and not dry_run:
        faults = place.machine_faults(offline=not live)
        if faults:
            raise _RefusedError("\n".join(faults))


def _source(root: Path, site: Path | None) -> Path | None:
    """Where the configuration comes from; None if the machine has one."""
    there = root / shipped.CONFIGURATION.relative_to("/") / "appliance.toml"
    if there.exists():
        return None
    if site is not None and not (site / "appliance.toml").is_file():
        raise _RefusedError(f"--site {site}: no appliance.toml in it")
    return site or shipped.example()


def _load(folder: Path) -> Appliance:
    try:
        return load(folder)
    except ConfigError as error:
        raise _RefusedError(f"{error}\n{folder}: correct these first; nothing was done") from None


def _faults(root: Path) -> int:
    """Files that were there already may not go with those that were added."""
    folder = root / shipped.CONFIGURATION.relative_to("/")
    try:
        load(folder)
    except ConfigError as error:
        print(f"{error}\n{folder}: correct these, then run it again", file=sys.stderr)
        return FAILED
    return DONE


def _carry_out(actions: list[Action], root: Path, *, dry_run: bool) -> int:
    try:
        for action in actions:
            if isinstance(action, (Write, Remove)):
                below(root, action.path)
    except FailedError as error:
        print(f"{error}; nothing was done", file=sys.stderr)
        return MISTAKE
    if dry_run:
        print("nothing is done; without --dry-run:")
    for action in actions:
        print(f"  {action}", flush=True)
        if dry_run:
            continue
        try:
            told = perform(action, root)
        except FailedError as error:
            print(f"FAILED   {error}\nrun it again once that is mended", file=sys.stderr)
            return FAILED
        if told:
            print(f"    {told}")
    return DONE
