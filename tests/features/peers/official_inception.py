"""The module tree of NVIDIA's inception-2015-12-05.pt in PyTorch, written from what public ports of it document.

It stands in for the official archive, which no package registry has: the same parameter names, TorchScript container
and resizing.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Conv(nn.Module):
    """Convolution, batch normalisation without gain, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int | tuple[int, int], stride: int = 1, padding=0):
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = nn.Parameter(torch.zeros(c_out, c_in, *kernel))
        self.beta, self.mean, self.var = (nn.Parameter(torch.ones(c_out)) for _ in range(3))
        self.stride = stride
        self.padding: tuple[int, int] = (padding, padding) if isinstance(padding, int) else padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.conv2d(x, self.weight, None, [self.stride, self.stride], self.padding)
        return functional.batch_norm(x, self.mean, self.var, None, self.beta, False, 0.0, 1e-3).relu()


def _tower(*layers: nn.Module) -> nn.Sequential:
    """Name layers as TensorFlow does: conv, conv_1, …, and pool."""
    out, count = nn.Sequential(), 0
    for layer in layers:
        pool = not isinstance(layer, Conv)
        out.add_module("pool" if pool else f"conv_{count}" if count else "conv", layer)
        count += not pool
    return out


class Towers(nn.Module):
    """Blocks whose branches are sequences."""

    def __init__(self, conv: nn.Module | None, pool: nn.Module | None, *towers: nn.Sequential):
        super().__init__()
        self.conv = conv if conv is not None else nn.Identity()
        self.tower = towers[0]
        self.tower_1 = towers[1] if len(towers) > 1 else nn.Sequential()
        self.tower_2 = towers[2] if len(towers) > 2 else nn.Sequential()
        self.pool = pool if pool is not None else nn.Identity()
        self.has = (conv is not None, len(towers), pool is not None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = [self.conv(x)] if self.has[0] else []
        ends.append(self.tower(x))
        if self.has[1] > 1:
            ends.append(self.tower_1(x))
        if self.has[1] > 2:
            ends.append(self.tower_2(x))
        if self.has[2]:
            ends.append(self.pool(x))
        return torch.cat(ends, 1)


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def block_a(c: int, pool: int) -> Towers:
    return Towers(
        Conv(c, 64, 1),
        None,
        _tower(Conv(c, 48, 1), Conv(48, 64, 5, padding=2)),
        _tower(Conv(c, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, padding=1)),
        _tower(_average(), Conv(c, pool, 1)),
    )


def block_b(c: int) -> Towers:
    tower = _tower(Conv(c, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, 2))
    return Towers(Conv(c, 384, 3, 2), nn.MaxPool2d(3, 2), tower)


def block_c(c: int, k: int) -> Towers:
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    return Towers(
        Conv(c, 192, 1),
        None,
        _tower(Conv(c, k, 1), Conv(k, k, **row), Conv(k, 192, **column)),
        _tower(Conv(c, k, 1), Conv(k, k, **column), Conv(k, k, **row), Conv(k, k, **column), Conv(k, 192, **row)),
        _tower(_average(), Conv(c, 192, 1)),
    )


def block_d(c: int) -> Towers:
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    second = _tower(Conv(c, 192, 1), Conv(192, 192, **row), Conv(192, 192, **column), Conv(192, 192, 3, 2))
    return Towers(None, nn.MaxPool2d(3, 2), _tower(Conv(c, 192, 1), Conv(192, 320, 3, 2)), second)


class BlockE(nn.Module):
    """The 8x8 blocks, whose branches fork."""

    def __init__(self, c: int, pool: nn.Module):
        super().__init__()
        row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        self.conv = Conv(c, 320, 1)
        self.tower_conv = Conv(c, 384, 1)
        self.tower_mixed_conv, self.tower_mixed_conv_1 = Conv(384, 384, **row), Conv(384, 384, **column)
        self.tower_1_conv, self.tower_1_conv_1 = Conv(c, 448, 1), Conv(448, 384, 3, padding=1)
        self.tower_1_mixed_conv, self.tower_1_mixed_conv_1 = Conv(384, 384, **row), Conv(384, 384, **column)
        self.tower_2_pool, self.tower_2_conv = pool, Conv(c, 192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        first = [self.conv(x), self.tower_mixed_conv(a), self.tower_mixed_conv_1(a)]
        second = [self.tower_1_mixed_conv(b), self.tower_1_mixed_conv_1(b), self.tower_2_conv(self.tower_2_pool(x))]
        return torch.cat(first + second, 1)


class OfficialInception(nn.Module):
    """The detector: resizing by an affine grid, the layers, the softmax."""

    def __init__(self):
        super().__init__()
        blocks = [block_a(192, 32), block_a(256, 64), block_a(288, 64), block_b(288)]
        blocks += [block_c(768, k) for k in (128, 160, 160, 192)]
        blocks += [block_d(768), BlockE(1280, _average()), BlockE(2048, nn.MaxPool2d(3, 1, 1))]
        self.layers = nn.Sequential()
        stem = [Conv(3, 32, 3, 2), Conv(32, 32, 3), Conv(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)]
        stem += [Conv(64, 80, 1), Conv(80, 192, 3), nn.MaxPool2d(3, 2)]
        names = ("conv", "conv_1", "conv_2", "pool0", "conv_3", "conv_4", "pool1")
        for name, layer in zip(names, stem, strict=True):
            self.layers.add_module(name, layer)
        for k, block in enumerate(blocks):
            self.layers.add_module(f"mixed_{k}" if k else "mixed", block)
        self.layers.add_module("pool2", nn.AvgPool2d(8, 8))
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        n, c, h, w = img.shape
        theta = torch.tensor([[1.0, 0.0, 1.0 / w - 1.0 / 299], [0.0, 1.0, 1.0 / h - 1.0 / 299]])
        grid = functional.affine_grid(theta.unsqueeze(0).repeat(n, 1, 1), [n, c, 299, 299], align_corners=False)
        x = functional.grid_sample(img.float(), grid, "bilinear", "border", align_corners=False)
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        if return_features:
            return features
        logits = functional.linear(features, self.output.weight, None if no_output_bias else self.output.bias)
        return logits.softmax(1)
