"""What each architecture adds to the configuration."""
