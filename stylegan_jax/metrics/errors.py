"""The error of the metrics."""

from stylegan_jax.base.errors import StyleganError


class MetricError(StyleganError, ValueError):
    """A metric cannot be computed from the arguments; the message says what was found, the rule and the fix."""
