"""Checkpoints whose every byte is verified: writing, checking and reading them."""
