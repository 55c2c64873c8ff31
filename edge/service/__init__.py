"""The appliance as a service of a machine: installed, listed, backed up, restored.

Nothing here is loaded by the daemon. Plans are values; only `actions` changes a machine.
"""
