"""Measures of generators; each adds up statistics over batches."""
