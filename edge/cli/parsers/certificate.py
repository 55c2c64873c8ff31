"""Arguments of `ncm-edge certificate`."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  ncm-edge certificate --config /etc/ncm-edge       make client.der and client.key in pki/
  ncm-edge certificate --show                       what is there, fingerprints, days left
  ncm-edge certificate trust opc.tcp://plc:4840     look at a server's certificate
  ncm-edge certificate trust plc.der --yes          put one into the trust list

exit codes: 0 fine; 1 not trusted yet, no answer, or a certificate with 30 days or fewer left;
2 a user's mistake, such as making a certificate that is already there
"""


Commands = argparse._SubParsersAction  # the only name argparse has for what add_subparsers gives


def add_parser(commands: Commands[argparse.ArgumentParser], place: argparse.ArgumentParser) -> None:
    """Add the command; `place` brings --config."""
    certificate = commands.add_parser(
        "certificate", parents=[place], help="certificates of OPC UA links: make, show, trust",
        description="Makes the certificate this appliance shows to OPC UA servers.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    certificate.add_argument(
        "--show", action="store_true", help="list all certificates with the days they have left"
    )
    certificate.add_argument("--uri", help="application URI (default: urn:HOSTNAME:ncm-edge)")
    certificate.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="host name or IP address of this appliance; may be repeated (default: host name)",
    )  # fmt: skip
    certificate.add_argument(
        "--years", type=int, choices=range(1, 31), default=10, metavar="1..30",
        help="validity (default: %(default)s)",
    )  # fmt: skip
    certificate.add_argument("--force", action="store_true", help="replace the one that is there")
    certificate.set_defaults(function=_certificate)
    actions = certificate.add_subparsers(metavar="trust")
    trust = actions.add_parser(
        "trust", help="look at a server's certificate, and trust it with --yes",
        description="Shows a certificate and its fingerprint; with --yes, trusts it.",
    )  # fmt: skip
    trust.add_argument("what", metavar="FILE|opc.tcp://...", help="a certificate, or its server")
    trust.add_argument("--yes", action="store_true", help="put it into the trust list")
    # Without a default of its own: it would overwrite the one given before the word trust.
    trust.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="DIR",
                       help="configuration directory")  # fmt: skip
    trust.set_defaults(function=_trust)


def _certificate(options: argparse.Namespace) -> int:
    from edge.cli import certificate
    from edge.runtime.clock import SystemClock

    if options.show:
        return certificate.show(options.config, SystemClock())
    return certificate.create(
        options.config, SystemClock(), uri=options.uri, names=options.host, years=options.years,
        force=options.force,
    )  # fmt: skip


def _trust(options: argparse.Namespace) -> int:
    from edge.cli import certificate
    from edge.runtime.clock import SystemClock

    return certificate.trust(options.config, SystemClock(), options.what, yes=options.yes)
