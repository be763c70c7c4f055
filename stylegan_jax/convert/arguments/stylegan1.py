"""Static arguments of StyleGAN's official networks in TensorFlow."""

from __future__ import annotations

from typing import Any

from stylegan_jax.convert.arguments.shared import check_arguments, clamp_bound, fir_taps
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.pickles import OfficialNet, listing
from stylegan_jax.convert.tf_names import settle

# Arguments that do not change a trained network, or only its use; `from_tensorflow` handles fused_scale.
_USAGE = ("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "style_mixing_prob")
_USAGE += ("dlatent_avg_beta", "structure", "randomize_noise", "func_name", "fused_scale", "dlatent_broadcast")
_NEUTRAL = {"fmap_decay": 1.0, "dtype": "float32", "normalize_latents": True, "use_wscale": True}
_NEUTRAL |= {"mapping_nonlinearity": "lrelu"}
_COUNTS = {"latent_size": 512, "label_size": 0, "dlatent_size": 512, "mapping_layers": 8, "mapping_fmaps": 512}
_COUNTS |= {"num_channels": 3, "resolution": 1024, "fmap_base": 8192, "fmap_max": 512}
_COUNTS |= {"mbstd_group_size": 4, "mbstd_num_features": 1}
_SWITCHES = {"use_styles": True, "const_input_layer": True, "use_pixel_norm": False, "use_instance_norm": True}


class _Arguments:
    """The static arguments of a network, each used once; the number of `rgb` layers shows whether it grows."""

    def __init__(self, net: OfficialNet, rgb: str):
        self.label, self.left = net.class_name, {k: v for k, v in net.init_kwargs.items() if k not in _USAGE}
        settle(self.left, self.label)
        for key, neutral in _NEUTRAL.items():
            if self.left.pop(key, neutral) != neutral:
                raise BadCheckpointError("", f"{self.label}: {key} differs from {neutral!r}, which is not supported")
        self.grows = sum(f"{rgb}_lod" in name and name.endswith("/weight") for name in net.params) > 1

    def count(self, name: str) -> int:
        value = self.left.pop(name, _COUNTS[name])
        if type(value) is not int or not 0 <= value < 1 << 30:
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, not a count")
        return value

    def switch(self, name: str, default: bool) -> bool:
        value = self.left.pop(name, default)
        if value not in (True, False):
            raise BadCheckpointError("", f"{self.label}: {name} is {value!r:.80}, neither True nor False")
        return bool(value)

    def shared(self) -> dict[str, Any]:
        """Return the keys that both networks have, and check that no argument is left."""
        blur = self.left.pop("blur_filter", [1, 2, 1])
        out: dict[str, Any] = {
            "arch": "stylegan1",
            "resolution": self.count("resolution"),
            "img_channels": self.count("num_channels"),
            "label_dim": self.count("label_size"),
            "channel_base": 2 * self.count("fmap_base"),
            "channel_max": self.count("fmap_max"),
            "grows": self.grows,
            "activation": self.left.pop("nonlinearity", "lrelu"),
            "conv_clamp": clamp_bound(None),
            "num_lowp_res": 0,
        }
        out["stylegan1"] = {"blur_filter": [float(t) for t in fir_taps(blur or [1])]}
        if self.left:
            raise BadCheckpointError("", f"{self.label} has unknown arguments: {listing(self.left)}")
        return out


def generator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of a generator.

    Raises:
        BadCheckpointError: an argument is unknown or has another type.
    """
    kw = _Arguments(net, "ToRGB")
    switches = {key.removesuffix("_layer"): kw.switch(key, default) for key, default in _SWITCHES.items()}
    out = {key: kw.count(name) for key, name in {"z_dim": "latent_size", "w_dim": "dlatent_size"}.items()}
    width, out["mapping_layers"] = kw.count("mapping_fmaps"), kw.count("mapping_layers")
    out["mapping_layer_dim"] = 0 if width == out["w_dim"] else width
    rate = kw.left.pop("mapping_lrmul", 0.01)
    if type(rate) not in (int, float):
        raise BadCheckpointError("", f"{kw.label}: mapping_lrmul is {rate!r:.80}, not a number")
    noise = kw.switch("use_noise", True)
    shared = kw.shared()
    switches |= shared.pop("stylegan1")
    if out["mapping_layers"] == 0:  # then w is z, and the embedded label
        out["w_dim"] = out["z_dim"] * (2 if shared["label_dim"] else 1)
    notes = {"w_avg_beta": net.init_kwargs.get("dlatent_avg_beta", 0.995)}
    out |= shared | {"mapping_lr_mult": float(rate), "use_noise": noise, "stylegan1": switches}
    check_arguments(out)
    return out, notes


def discriminator_arguments(net: OfficialNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (model configuration keys, notes) of a discriminator; see `generator_arguments`."""
    kw = _Arguments(net, "FromRGB")
    group, statistics = kw.count("mbstd_group_size"), kw.count("mbstd_num_features")
    out = {"mbstd_group": max(group, 1), "mbstd_channels": statistics if group > 1 else 0}
    shared = kw.shared()
    defaults = {key.removesuffix("_layer"): value for key, value in _SWITCHES.items()}
    out |= shared | {"stylegan1": defaults | shared["stylegan1"]}
    check_arguments(out)
    return out, {}
