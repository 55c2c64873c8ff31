"""Acting as the account a folder belongs to: in the service's state root is the service."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "ncm-edge"


class AccountError(Exception):
    """This account may not do it; the message says which one."""


@dataclass(frozen=True, slots=True)
class Owner:
    """User and group of the state."""

    uid: int
    gid: int

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """Be this account for a while; only root can be another."""
        if os.geteuid() == self.uid:
            yield
            return
        before = os.geteuid(), os.getegid(), os.getgroups()
        os.setgroups([self.gid])  # with root's own groups, root's files would still open
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(before[0])
            os.setegid(before[1])
            os.setgroups(before[2])

    def make(self, folder: Path) -> None:
        """Make the folder, and give it to the account. Raises OSError."""
        if not folder.is_dir():
            folder.mkdir(mode=0o750, parents=True)
            if os.geteuid() == 0:
                os.chown(folder, self.uid, self.gid, follow_symlinks=False)


SELF = Owner(os.geteuid(), os.getegid())
"""This process, as it was started."""


def owner_of(state: Path) -> Owner:
    """Whose the state is: of who owns the folder, else of the account made at installation.

    Raises AccountError where this process may not act as it.
    """
    try:
        about = state.stat()
        owner = Owner(about.st_uid, about.st_gid)
    except FileNotFoundError:
        if os.geteuid() != 0:
            return SELF
        try:
            account = pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise AccountError(
                f"{state} is not there, and no account {ACCOUNT} either; ncm-edge install first"
            ) from None
        owner = Owner(account.pw_uid, account.pw_gid)
    if os.geteuid() not in (0, owner.uid):
        raise AccountError(f"{state} belongs to another account; run it as root (sudo)")
    return owner
