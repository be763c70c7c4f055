"""What dill writes in the place of functions, cells, classes and bound methods, as StyleGAN-XL's files have it."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import forge
import numpy as np
from forge import Call, Name, New

ON_GPU = functools.partial(forge.stream, place="cuda:0")
"""Storages that were saved on a GPU."""


def made(name: str, *args: Any, state: Any = None) -> Call:
    """A call of one of dill's own functions."""
    return Call(Name("dill._dill", name), *args, state=state)


def kind(name: str) -> Call:
    """A type of Python's `types`; what stands for it is called."""
    return made("_load_type", name)


def bound(function: str, owner: Any) -> Call:
    """A method that was put on an instance."""
    return Call(kind("MethodType"), Name(*function.rsplit(".", 1)), owner)


def closure(name: str, held: Any) -> tuple[Call, Call]:
    """A function that holds a value in a cell, and the call that fills the cell."""
    cell = made("_create_cell", None)
    code = made("_create_code", 2, 0, 0, 2, 4, 19, b"|\0S\0", (None,), (), ("x", name), "vit.py", name, 7, b"\0\1")
    function = made(
        "_create_function", code, {"activations": {}, "__name__": "vit"}, name, None, (cell,), state=({}, None)
    )
    set_attribute = Call(Name("builtins", "getattr"), Name("dill", "_dill"), "_setattr", Name("builtins", "setattr"))
    return function, Call(set_attribute, cell, "cell_contents", held)


def own_class(name: str, base: Any, **members: Any) -> Call:
    """A class that is written whole."""
    return made("_create_type", kind("ClassType"), name, (base,), {"__module__": "vit", **members})


def additions(features: np.ndarray) -> dict[str, Any]:
    """Attributes of a pretrained module after a batch: hooks, bound methods, closures, the features of the batch."""
    owner = New(Name("timm.models.vision_transformer", "VisionTransformer"), state={"_modules": OrderedDict()})
    hook, fill = closure("hook", owner)
    layer = New(own_class("Local", Name("torch.nn.modules.module", "Module"), forward=hook), state={"_modules": {}})
    norm = Call(kind("PartialType"), Name("torch.nn.modules.normalization", "LayerNorm"), state=((), {"eps": 1e-6}))
    return {
        "_forward_hooks": OrderedDict({94: hook}),
        "filled": fill,
        "forward_flex": bound("feature_networks.vit.forward_flex", owner),
        "resize": closure("resize", layer)[0],
        "norm_layer": norm,
        "local": layer,
        "activations": {"1": forge.tensor(features, form=ON_GPU)},
    }
