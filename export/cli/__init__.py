"""The commands of ncm-export: one module each, with `add` (its parser) and `run` (its work)."""
