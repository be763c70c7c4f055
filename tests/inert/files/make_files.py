"""Write the small files beside this script with PyTorch: python tests/inert/files/make_files.py (the extra `peers`)."""

from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


class Inner(nn.Module):
    """A parameter and a buffer of its own, as a converted TensorFlow layer has."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(54, dtype=torch.float32).reshape(3, 2, 3, 3))
        self.register_buffer("mean", torch.arange(3) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight) - self.mean.reshape(1, 3, 1, 1)


class Outer(nn.Module):
    """Two instances of a class, which TorchScript tells apart by mangled names, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential()
        self.layers.add_module("conv", Inner())
        self.layers.add_module("tower", nn.Sequential(Inner(), nn.ReLU()))
        self.output = nn.Linear(3, 2)
        self.scale: tuple[int, float] = (2, 0.5)
        self.output.weight.data = torch.arange(6, dtype=torch.float32).reshape(2, 3)
        self.output.bias.data = torch.tensor([0.25, 0.5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.layers.conv(x).mean((2, 3))) * self.scale[1]


def main() -> None:
    shared = torch.arange(12, dtype=torch.float32)
    state = {
        "transposed": shared.reshape(3, 4).t(),
        "tail": shared[8:],
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "brain": torch.tensor([1.5, -0.25], dtype=torch.bfloat16),
        "count": torch.tensor(7),
    }
    for name, zipped in (("legacy.pth", False), ("zipped.pth", True)):
        torch.save(state, HERE / name, _use_new_zipfile_serialization=zipped)
    torch.jit.script(Outer().eval()).save(HERE / "script.pt")


if __name__ == "__main__":
    main()
