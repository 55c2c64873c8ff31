"""The batch schedule of a target composition: inputs, design, re-blending, the next batch."""
