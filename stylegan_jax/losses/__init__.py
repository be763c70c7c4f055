"""Losses and regularisers: they take callables and return one value per example, whatever the architecture."""
