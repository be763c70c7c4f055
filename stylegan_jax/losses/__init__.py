"""Losses and regularisers: callables in, per-example arrays out; nothing here knows an architecture."""
