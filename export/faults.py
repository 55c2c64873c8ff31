"""The one family of errors of the workshop: a user's mistake, said with file, value and remedy."""

from __future__ import annotations


class ExportError(ValueError):
    """Whatever a user can put right; `ncm-export` prints it and ends with 2."""
