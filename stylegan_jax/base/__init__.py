"""The foundations: shared types, keys, platform, images, trees, files, errors."""
