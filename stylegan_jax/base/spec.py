"""Central value types and the dimension vocabulary that the whole project shares.

Dimension letters: `n` batch, `t` frames, `h w` image height and width, `c` channels, `z` latent size, `w` style size,
`l` style slots (`num_ws`), `k` heads or label size, `f` filter taps, `d` features. `image` is float in [-1, 1];
`pixels` is uint8 in [0, 255]; `nimg` counts images shown to the discriminator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any
"""A JAX or NumPy array; in trees that describe one, its abstract shape or its sharding."""

Variables = dict[str, Any]
"""A linen variable dict: `params` (trained) and `buffers` (constant noise maps; saved, never trained)."""

PHASES = ("g_main", "g_reg", "d_main", "d_reg")
"""The four programs of one training iteration, in the order in which they run (SG2 §4, lazy regularisation)."""


class Batch(NamedTuple):
    """What one training step reads.

    Attributes:
        pixels: uint8[n, h, w, c], real images; normalised to [-1, 1] on the device, once.
        label: float32[n, k], the labels of `pixels`; k = 0 without conditioning.
        gen_label: float32[4, n, k], labels drawn from the data set for the latents of each of `PHASES`.
    """

    pixels: Array
    label: Array
    gen_label: Array


class SourceInfo(NamedTuple):
    """What a data source says of itself without decoding every image.

    Attributes:
        name: short name for logs and run folders.
        num_images: images that can be read, bad ones already left out.
        image_shape: (h, w, c) as stored, before any resize.
        label_dim: length k of a label vector; 0 when there are no labels.
        label_names: class names, empty when unknown.
        skipped: names and reasons of the images left out by `on_bad_image='skip'`.
        label_kind: 'none', 'classes', 'multi-hot' or 'vectors'.
        label_digest: changes when any label does.
        subset_of: size of the whole set when `num_images` of them were chosen at random; else 0.
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
