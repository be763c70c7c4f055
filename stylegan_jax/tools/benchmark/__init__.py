"""Speed and cost of a configuration on this machine: `python -m stylegan_jax.tools.benchmark --help`."""
