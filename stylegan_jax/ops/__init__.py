"""Pure functions on arrays: no Flax, no configuration, NHWC throughout."""
