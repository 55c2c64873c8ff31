"""Recordings, simulated batches and labels -> datasets and splits."""
