"""The offline workshop: simulate, train, evaluate, quantize, bundle. Needs the `export` extra."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
