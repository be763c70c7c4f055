"""The StyleGAN family in pure-functional JAX and Flax."""

__version__ = "0.1.0"
