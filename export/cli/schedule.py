"""ncm-export schedule: the 21 steps of a target composition, and the next batch's from the last."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from export.cli.common import Commands, command

if TYPE_CHECKING:
    from export.schedule.design import Design
    from export.schedule.inputs import Inputs


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "schedule",
        run,
        "compute the batch schedule of a target composition, or the next batch's from the last",
        "ncm-export schedule ncm838                 # the table, nothing written",
        "ncm-export schedule my.toml --out build/my.csv --picture build/my.svg --twin",
        "ncm-export schedule my.toml --parent build/my.csv --result batch.toml  # a preview",
        "ncm-export schedule my.toml --parent build/my.csv --result batch.toml \\",
        '      --out build/my-2.csv --sign-off "J. Kim"                # the next batch, released',
    )
    p.add_argument("inputs", type=Path, help="TOML of the inputs, or a shipped name: ncm838")
    p.add_argument("--out", type=Path, help="CSV to write, for the appliance and the twin")
    p.add_argument("--picture", type=Path, help="draw flows and composition gradient (.svg, .png)")
    p.add_argument("--twin", action="store_true", help="run it on the simulated plant, untrimmed")
    p.add_argument("--parent", type=Path, help="schedule of the last batch, written by --out")
    p.add_argument("--result", type=Path, help="TOML: ICP, yield and NaOH demand of that batch")
    p.add_argument("--sign-off", default="", metavar="NAME", help="who releases the schedule")
    p.set_defaults(progress=sys.stderr.isatty())


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.faults import ExportError
    from export.schedule import report
    from export.schedule.design import design
    from export.schedule.inputs import load_inputs
    from export.schedule.lineage import Lineage, document, load_parent, write
    from export.schedule.refine import load_result, refine

    if (args.parent is None) != (args.result is None):
        raise ExportError("--parent and --result belong together: a schedule and what it gave")
    if args.parent is not None and args.out is not None and not args.sign_off.strip():
        raise ExportError("--out: a refined schedule is released by a person; add --sign-off NAME")
    first = load_inputs(args.inputs)
    inputs, parent = first, None
    lineage = Lineage(c_alk=inputs.c_alk, feed_target=inputs.target)
    if args.parent is not None:
        parent = load_parent(args.parent)
        inputs, lineage, notes = refine(inputs, parent, load_result(args.result))
        for note in notes:
            print(f"note: {note}")
    made = design(inputs)
    _judge(inputs, made, learnt=parent is not None)
    print(report.table(made.schedule))
    print(report.summary(made, inputs.target))
    if parent is not None:
        print(report.changes(parent.schedule, made.schedule))
    if args.twin:
        _try(made, args.progress)
    if args.picture is not None:
        from export.schedule.picture import save

        save(made.schedule, args.picture)
        print(f"picture: {args.picture}")
    if args.out is not None:
        lineage = replace(lineage, signed_off=args.sign_off.strip() or "nobody")
        source = f"{args.inputs.name} {_hash(args.inputs)}"
        write(args.out, document(made, inputs, first.target, lineage, source))
        print(f"schedule: {args.out}")


def _judge(inputs: Inputs, made: Design, *, learnt: bool) -> None:
    """Raises DesignError with everything that forbids this schedule, and how to blend anew."""
    from export.schedule.blend import blends
    from export.schedule.design import RESIDUAL_MAX, DesignError, faults
    from export.schedule.report import percent

    found = faults(inputs, made, learnt=learnt)
    if made.residual > RESIDUAL_MAX:
        found.append(
            f"[shell] the tanks as assayed give Ni/Co/Mn {percent(made.estimated)} %, wanted "
            f"{percent(inputs.target)} %; permitted {100 * RESIDUAL_MAX:g} point; blend one of "
            "the two tanks anew:"
        )
        found.extend(f"  {blend.text()}" for blend in blends(inputs, made.shell_mol_kg))
    if found:
        raise DesignError(f"schedule {inputs.name} is not possible:\n" + "\n".join(found))


def _try(made: Design, progress: bool) -> None:
    from export.schedule.trial import BAND_PH, worst_ph

    def show(share: float) -> None:
        if progress:
            print(f"\rtwin {share:4.0%}", end="" if share < 1.0 else "\n", file=sys.stderr)

    worst = worst_ph(made.schedule, show)
    verdict = "inside" if worst <= BAND_PH else "OUTSIDE"
    print(f"simulated: untrimmed, the pH stays within ±{worst:.2f}, {verdict} ±{BAND_PH:g}")


def _hash(path: Path) -> str:
    from export.schedule.inputs import SHIPPED

    shipped = SHIPPED / f"{path}.toml"
    real = path if path.exists() else shipped
    return hashlib.sha256(real.read_bytes()).hexdigest()[:12]
