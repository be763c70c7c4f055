"""The ground floor: shared types, keys, platform, images, trees, files, errors."""
