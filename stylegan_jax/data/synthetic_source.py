"""Coloured shapes drawn by a formula: data without files, for tests, speed measurements and a first run."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np

from stylegan_jax.base.spec import SourceInfo
from stylegan_jax.config import ConfigError, DataConfig
from stylegan_jax.data import order
from stylegan_jax.data.labels import Labels, from_array, no_labels

SHAPES = ("disc", "square", "triangle", "ring", "cross")


class SyntheticSource:
    """A `Source` whose image i is a pure function of i: one anti-aliased shape on a gradient.

    With `num_labels` > 0 the class determines the kind and hue of the shape, so that labels can be learnt.

    Args:
        num_images: number of images.
        num_labels: number of classes; 0: no labels.
        image_shape: (h, w, c) with c 1, 3 or 4 (the alpha channel is the shape's mask).
    """

    def __init__(self, num_images: int, num_labels: int, image_shape: tuple[int, int, int]):
        self._num_labels, self._shape = num_labels, image_shape
        self._num_images = num_images
        self._labels: Labels = no_labels(num_images)
        if num_labels:
            names = [f"{SHAPES[k % len(SHAPES)]} {k // len(SHAPES)}" for k in range(num_labels)]
            self._labels = from_array(np.arange(num_images) % num_labels, num_images, "synthetic", names)
            self._labels = dataclasses.replace(self._labels, dim=num_labels, names=tuple(names))

    def info(self) -> SourceInfo:
        """Describe the set."""
        return SourceInfo("synthetic", self._num_images, self._shape, **self._labels.info())

    def pixels(self, index: int) -> np.ndarray:
        """Draw image `index`, uint8[h, w, c]."""
        height, width, channels = self._shape
        u = order.uniform(10, int(index))
        kind, hue = int(u[0] * len(SHAPES)), u[1]
        if self._num_labels:
            label = int(index) % self._num_labels
            hues = -(-self._num_labels // len(SHAPES))
            kind, hue = label % len(SHAPES), (label // len(SHAPES) + 0.4 * u[1]) / hues
        unit = min(height, width)
        y, x = np.mgrid[0:height, 0:width].astype(np.float64) + 0.5
        radius = (0.2 + 0.15 * u[2]) * unit
        cx, cy = (0.3 + 0.4 * u[3]) * width, (0.3 + 0.4 * u[4]) * height
        distance = _distance(SHAPES[kind], (x - cx) / radius, (y - cy) / radius, 2 * np.pi * u[5]) * radius
        mask = np.clip(0.5 - distance, 0.0, 1.0)[..., None]  # one pixel of soft edge
        front = np.array(colorsys.hsv_to_rgb(hue, 0.6 + 0.4 * u[6], 0.7 + 0.3 * u[7]))
        back = np.array(colorsys.hsv_to_rgb(u[8], 0.25, 0.5))
        ground = back + (0.4 * u[9] * (y / height))[..., None]
        rgb = ground + mask * (front - ground)
        if channels == 1:
            rgb = rgb.mean(axis=-1, keepdims=True)
        elif channels == 4:
            rgb = np.concatenate([rgb, mask], axis=-1)
        return np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)

    def labels(self, index: np.ndarray) -> np.ndarray:
        """Return label vectors, float32[*index.shape, k]."""
        return self._labels.vectors(index)

    def label_rows(self, index: np.ndarray) -> np.ndarray:
        """Return labels as batches contain them: class numbers int32[*index.shape], or vectors like `labels`."""
        return self._labels.rows(index)

    def close(self) -> None:
        """Do nothing."""


def _distance(kind: str, x: np.ndarray, y: np.ndarray, angle: float) -> np.ndarray:
    """Return the approximate signed distance to a shape of radius 1 turned by `angle`; negative inside."""
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    r = np.hypot(x, y)
    if kind == "disc":
        return r - 1
    if kind == "ring":
        return np.abs(r - 0.75) - 0.25
    if kind == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.8
    if kind == "triangle":
        return np.maximum(np.abs(x) * np.sqrt(0.75) + y / 2, -y) - 0.55
    return np.minimum(np.maximum(np.abs(x) - 1, np.abs(y) - 0.3), np.maximum(np.abs(y) - 1, np.abs(x) - 0.3))


def open_synthetic(data: DataConfig, image_shape: tuple[int, int, int]) -> SyntheticSource:
    """Make `data.synthetic_images` shapes of the model's size.

    Raises:
        ConfigError: there is no image, or labels are requested but none are configured.
    """
    if data.synthetic_images < 1 or data.synthetic_labels < 0:
        raise ConfigError(
            f"config.data.synthetic_images is {data.synthetic_images} and synthetic_labels {data.synthetic_labels}; "
            "use at least 1 image and 0 or more classes"
        )
    if data.labels == "file" and not data.synthetic_labels:
        raise ConfigError("config.data.labels='file' with source='synthetic' needs config.data.synthetic_labels > 0")
    return SyntheticSource(data.synthetic_images, data.synthetic_labels, image_shape)
