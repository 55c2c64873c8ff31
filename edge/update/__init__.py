"""Signed model updates: one file on a stick in, a verified slot or a named refusal out.

`refusals`, `container`, `trust` and `manifest` are pure: bytes in, values or `Refused` out. `disk`,
`store`, `install`, `selftest` and `audit` are the shell that reads the stick and writes the state.
"""
