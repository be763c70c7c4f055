"""Command lines that start training elsewhere; `docs/launch.md`. Standard library only."""
