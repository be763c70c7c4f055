"""How fast a configuration runs on this machine, and what it costs: `python -m stylegan_jax.tools.benchmark --help`."""
