"""Metrics of generators; each accumulates statistics over batches."""
