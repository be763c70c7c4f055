"""Publishing a model: a model folder with a card, and programs for other platforms."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stylegan_jax import models
from stylegan_jax.checkpoints.restore import read_meta
from stylegan_jax.convert import folder as folders
from stylegan_jax.sampling import card, programs, run_records
from stylegan_jax.sampling.model import LoadedModel

CODE = """The lines below need only JAX and safetensors, not this project. The folder `stablehlo` has one program per
function and platform, and `export.json` lists their inputs and outputs. A program is code, which JAX compiles and runs
with your rights: run only those of people you trust. `load_exported` of `stylegan_jax.sampling.exported` raises an
error for programs that call anything outside themselves; the lines below do not check this.

```python
import json, pathlib
import numpy as np
from jax import export
from safetensors.numpy import load_file

folder = pathlib.Path(".")  # of this file
known = json.loads((folder / "stablehlo/export.json").read_text())["functions"]["sample"]
program = export.deserialize(bytearray((folder / "stablehlo/sample.{platform}.bin").read_bytes()))
weights = load_file(folder / "weights.safetensors")
z = np.random.RandomState(0).randn(4, {z_dim}).astype(np.float32)  # any number of latents
psi = np.full({num_ws}, 0.7, np.float32)  # truncation of every style slot
pixels = program.call({{name: weights[name] for name in known["weights"]}}, z, {label}psi)  # uint8 [4, h, w, c]
```"""


def export_model(
    model: LoadedModel,
    out: str | os.PathLike[str],
    *,
    platforms: Sequence[str] = tuple(programs.PLATFORMS),
    noise: str = "const",
    precision: str = "model",
    whole: bool = False,
    overwrite: bool = False,
    name: str = "",
    address: str = "",
    licence: str = "",
    facts: Mapping[str, Any] | None = None,
    records: bool = False,
    evaluated: Path | None = None,
) -> None:
    """Write a model folder with a model card, and the generator as StableHLO programs.

    Args:
        model: the model, grown to its end.
        out: the folder; `load_model` and `load_exported` open it.
        platforms: of the programs, some of `programs.PLATFORMS`; empty: no programs.
        noise: of the programs, 'const' or 'none'.
        precision: of the programs: 'model', or 'float32'.
        whole: also write G and D, to continue training from them.
        overwrite: replace a folder that this function wrote.
        name: title of the card; '': the name of the folder.
        address: what the card passes to `load_model`; '': the name of the folder.
        licence: of the weights, an identifier of the Hub; '': the card says that none was stated.
        facts: where the model comes from; None: `card.provenance`.
        records: also write the records of its run and its learning curves (`run_records`).
        evaluated: a file of metrics of the run's checkpoints, as `metrics --out` writes it, for the card and the
            curves.

    Raises:
        ValueError: the model is still growing, lacks G or D and `whole` is set, or has no run and `records` is set.
        BadCheckpointError: `out` exists and may not be replaced.
    """
    if not model.is_grown:
        raise ValueError(
            f"at step {model.provenance.get('step')} the model is still growing (height "
            f"{model.gan.spec.image_shape[0]} of {model.config.image_shape[0]}); export a later checkpoint"
        )
    nets = networks(model, whole)
    facts = dict(card.provenance(model, evaluated) if facts is None else facts)
    origin = model.provenance
    if records and "workdir" not in origin:
        raise ValueError("records: this model is not the workdir of a run, so it has no records; leave it out")
    model, own = model.replace(provenance=facts), Path(out).resolve().name
    use = example(model, platforms)
    figure = run_records.FIGURE if records else ""
    titles = {"name": name or own, "address": address or own, "licence": licence}
    text = card.write_card(model, facts, programs=use, figure=figure, **titles)
    with folders.new_folder(out, overwrite=overwrite) as fresh:
        folders.fill_model_folder(fresh, out, dataclasses.asdict(model.config), nets, facts)
        (fresh / "README.md").write_text(text, encoding="utf-8")
        if records:
            config = read_meta(origin["workdir"], origin["step"])["config"]
            config |= {"name": facts.get("recipe", config["name"])}
            run_records.write_records(fresh, Path(origin["workdir"]), config, origin["step"], evaluated)
        if platforms:
            if precision != "model":
                config = dataclasses.replace(model.config, compute_dtype=precision)
                model = model.replace(config=config, gan=models.build(config))
            (fresh / folders.PROGRAMS).mkdir()
            digest = folders.sha256_file(fresh / folders.WEIGHTS_FILE)
            programs.write_programs(fresh / folders.PROGRAMS, model, platforms, noise, digest)


def networks(model: LoadedModel, whole: bool) -> dict[str, Any]:
    """Return the networks as a model folder stores them.

    Raises:
        ValueError: `whole` is set, and G or D is missing.
    """
    found = {"g_ema": {**model.g_ema, "w_avg": model.w_avg}}
    if whole:
        if model.g is None or model.d is None:
            missing = [name for name, net in (("G", model.g), ("D", model.d)) if net is None]
            left = model.provenance.get("left_out")
            why = f" ({'; '.join(map(str, left.values()))})" if isinstance(left, dict) and left else ""
            raise ValueError(
                f"whole: this model has no {' and no '.join(missing)}{why}; leave it out, or pass the workdir of a run"
            )
        found |= {"g": {**model.g, "w_avg": model.w_avg}, "d": model.d}
    return found


def example(model: LoadedModel, platforms: Sequence[str]) -> str:
    """Return the part of the card about the programs; '' if there are none."""
    spec = model.gan.spec
    if not platforms:
        return ""
    label = f"np.eye({spec.label_dim}, dtype=np.float32)[[0] * 4], " if spec.label_dim else ""
    return CODE.format(platform=platforms[0], z_dim=spec.z_dim, num_ws=spec.num_ws, label=label)
