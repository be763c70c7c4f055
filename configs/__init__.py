"""Recipes: each file is one experiment. They are installed as `stylegan_jax.configs`."""
