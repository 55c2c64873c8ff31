"""The subcommands of `ncm-edge`, one file each; they print, everything below them returns."""
