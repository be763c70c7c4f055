"""Provable checkpoints: written, verified, read."""
