"""Losses and regularisers: callables in, per-example arrays out; nothing here depends on an architecture."""
