"""Central value types and the dimension vocabulary that the whole project shares.

Dimension letters: `n` batch, `t` frames, `h w` image height and width, `c` channels, `z` latent size, `w` style size,
`l` style slots (`num_ws`), `k` heads or label size, `f` filter taps, `d` features. `image` is float in [-1, 1];
`pixels` is uint8 in [0, 255]; `nimg` counts images shown to the discriminator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any
"""A JAX or NumPy array; in trees that describe one, its abstract shape or its sharding."""

Tree = Any
"""Nested dicts, tuples and the like of arrays."""

Variables = dict[str, Any]
"""A network's linen variable dict: `params` (trained), and collections that are saved and not trained, such as
`buffers` (noise maps, averages of activations) and `batch_stats` (batch and spectral normalisation)."""

Sample = dict[str, Any]
"""A batch of what a GAN generates: {'image': float[n, h, w, c]}; clips {'image': float[n, t, h, w, c], 'times': …}."""

Inputs = dict[str, Any]
"""A batch of what a generator draws from: {'z': float[n, z]}, and whatever else an architecture needs."""


class Batch(NamedTuple):
    """What one training step reads.

    Attributes:
        sample: real examples, {'image': uint8[n, h, w, c]}, or clips {'image': uint8[n, t, h, w, c], 'times':
            float32[n, t]}; pixels become images in [-1, 1] on the device.
        label: the labels of `sample`: class numbers int32[n], which become one-hot vectors on the device, or vectors
            float32[n, k]; k = 0 without conditioning.
        gen_label: labels drawn from the data set for the latents of each phase: int32[draws, n] or
            float32[draws, n, k].
        second: (sample, label) of other reals, for generator phases whose loss compares with reals; None for other
            losses.
        given: inputs of each phase's latents that the data decide, in place of what `Gan.draw_inputs` draws:
            {'times': float32[draws, n, t]} of the videos whose labels are in `gen_label`; None for images.
    """

    sample: dict[str, Array]
    label: Array
    gen_label: Array
    second: tuple[dict[str, Array], Array] | None = None
    given: dict[str, Array] | None = None

    @property
    def pixels(self) -> Array:
        """The images, uint8."""
        return self.sample["image"]


class SourceInfo(NamedTuple):
    """What a data source knows without decoding every image.

    Attributes:
        name: short name for logs and run folders.
        num_images: usable images; bad ones are not counted.
        image_shape: (h, w, c) as stored, before any resize.
        label_dim: length k of a label vector; 0 when there are no labels.
        label_names: class names, empty when unknown.
        skipped: names and reasons of the images left out by `on_bad_image='skip'`.
        label_kind: 'none', 'classes', 'multi-hot' or 'vectors'; those of 'classes' travel as class numbers.
        label_digest: a digest that changes when any label does.
        label_counts: images of each class or of each entry of multi-hot labels; () for other labels.
        notes: lines about what was skipped and what looks doubtful.
        subset_of: size of the whole set if `num_images` of it were chosen at random, otherwise 0.
    """

    name: str
    num_images: int
    image_shape: tuple[int, int, int]
    label_dim: int
    label_names: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    label_kind: str = "none"
    label_digest: str = ""
    subset_of: int = 0
    label_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
