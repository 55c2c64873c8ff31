"""Imported once by the server that the fits are forked from (see runner)."""

from export.judge.worker import preload

preload()
