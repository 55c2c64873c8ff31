"""Trained model -> graph, variants, gates, bundle."""
