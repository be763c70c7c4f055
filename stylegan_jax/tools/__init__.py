"""Command-line tools: `python -m stylegan_jax.tools.<name> --help`."""
