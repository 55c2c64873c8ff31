"""ncm-export keys: make, show, rotate and revoke the keys that sign releases."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from export.cli.common import Commands, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.update.trust import Chain
    from export.deliver.keys import PrivateKey

PASSPHRASE = "NCM_EXPORT_PASSPHRASE"
"""Environment variable asked before the terminal is."""


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "keys",
        run,
        "make, show, rotate and revoke the keys that sign releases",
        "ncm-export keys init keys --passphrase          # three root keys, two release keys",
        "ncm-export keys show keys",
        "ncm-export keys rotate keys release-1 --key /media/a/root-a.pem --key /media/b/root-b.pem",
        "ncm-export keys revoke keys release-1 --key root-a.pem --key root-b.pem --raise-epoch",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("folder", type=Path, help="key folder")
    secret = argparse.ArgumentParser(add_help=False)
    secret.add_argument(
        "--passphrase",
        action="store_true",
        help=f"encrypt new private keys; asked for, or taken from ${PASSPHRASE}",
    )
    signed = argparse.ArgumentParser(add_help=False)
    signed.add_argument("name", help="the key, as `keys show` names it")
    signed.add_argument(
        "--key", type=Path, action="append", default=[], metavar="FILE",
        help="root key that signs; twice. Default: the root keys left in the folder",
    )  # fmt: skip
    actions.add_parser("init", parents=[folder, secret], help="first root and its five keys")
    actions.add_parser("show", parents=[folder], help="the chain, and which keys count")
    actions.add_parser(
        "rotate", parents=[folder, signed, secret], help="a new key in the place of one"
    )
    revoke = actions.add_parser("revoke", parents=[folder, signed], help="a key counts no more")
    revoke.add_argument(
        "--raise-epoch",
        action="store_true",
        help="begin the release numbers anew: after a thief has signed with a high number",
    )
    revoke.add_argument("--min-seq", type=int, metavar="N", help="least release number from now on")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.deliver import keys

    if args.action == "init":
        chain = keys.init(args.folder, new_passphrase() if args.passphrase else None)
        print(f"{args.folder}/private: five private keys; move each to a medium of its own")
        print(f"{args.folder}/root.json: for trust/ in the configuration of every appliance")
    elif args.action == "show":
        chain = keys.chain_of(args.folder)
    elif args.action == "rotate":
        chain = keys.rotate(
            args.folder,
            _root_keys(args.folder, args.key),
            replace=args.name,
            passphrase=new_passphrase() if args.passphrase else None,
        )
    else:
        chain = keys.revoke(
            args.folder,
            _root_keys(args.folder, args.key),
            name=args.name,
            raise_epoch=args.raise_epoch,
            min_seq=args.min_seq,
        )
    _show(chain)
    if args.action in ("rotate", "revoke"):
        print("The next release carries this to the appliances: sign one and send it out.")


def load_keys(paths: Sequence[Path]) -> list[PrivateKey]:
    """Private keys, the passphrase asked for where one is needed."""
    from export.deliver import keys

    return [
        keys.load_key(path, _passphrase(f"passphrase of {path}: ") if keys.is_encrypted(path)
                      else None)
        for path in paths
    ]  # fmt: skip


def new_passphrase() -> bytes:
    """A passphrase for new keys, typed twice at a terminal. Raises KeyFileError."""
    from export.deliver.keys import KeyFileError

    first = _passphrase("passphrase for the new private keys: ")
    if PASSPHRASE not in os.environ and _passphrase("again: ") != first:
        raise KeyFileError("the passphrases differ; nothing was made")
    if len(first) < 8:
        raise KeyFileError(f"a passphrase of {len(first)} characters; permitted are 8 or more")
    return first


def _passphrase(prompt: str) -> bytes:
    import getpass

    return os.environ.get(PASSPHRASE, "").encode() or getpass.getpass(prompt).encode()


def _root_keys(folder: Path, paths: Sequence[Path]) -> list[PrivateKey]:
    return load_keys(paths or sorted((folder / "private").glob("root-*.pem")))


def _show(chain: Chain) -> None:
    from export.deliver.keys import ROLES, names

    newest = chain.newest
    print(
        f"root {newest.version}, epoch {newest.epoch}, "
        f"releases from number {newest.min_seq} on"
    )
    for word, role in ROLES.items():
        threshold = newest.root.roles[role].threshold
        held = names(chain, role)
        print(f"  {word}: {threshold} of {len(held)} must sign: {', '.join(held)}")
