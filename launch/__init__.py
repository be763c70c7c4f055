"""Commands that start training on other machines; `docs/launch.md`. Standard library only."""
