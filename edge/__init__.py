"""NCM Edge: an inference appliance beside the PLC of a cathode-precursor line.

Importing this package switches the telemetry of ONNX Runtime off before anything can load it:
the Linux wheels report home by default, and an appliance on a plant network must not.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
