"""The error of the metrics."""


class MetricError(ValueError):
    """A metric cannot be computed from what was given; the text says what was found, the rule and the fix."""
