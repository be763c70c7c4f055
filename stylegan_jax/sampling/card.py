"""The model card, README.md of a model folder, generated from its configuration and provenance alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan_jax import __version__
from stylegan_jax.base.errors import printable
from stylegan_jax.config.arch import ARCH_RULES
from stylegan_jax.convert.folder import LICENCE_NOTE, count_parameters
from stylegan_jax.sampling import curves
from stylegan_jax.sampling.labels import listed
from stylegan_jax.sampling.model import LoadedModel


def provenance(model: LoadedModel, evaluated: Path | None = None) -> dict[str, Any]:
    """Return where a model comes from, without paths of this machine; `evaluated` as in `run_facts`."""
    names = {"label_names": list(model.label_names)} if model.label_names else {}
    if "workdir" not in model.provenance:
        return model.provenance | names
    from stylegan_jax.checkpoints.restore import read_meta

    run, step = model.provenance["workdir"], model.provenance["step"]
    return run_facts(Path(run), read_meta(run, step), step, evaluated) | names


def run_facts(workdir: Path, meta: Mapping[str, Any], step: int, evaluated: Path | None = None) -> dict[str, Any]:
    """Return the facts about a run's checkpoint, JSON-ready and without paths of the machine.

    Args:
        workdir: workdir of the run.
        meta: the checkpoint's metadata.
        step: the checkpoint's step.
        evaluated: a file of metrics of the run's checkpoints, as `metrics --out` writes it.
    """
    config, data = meta["config"], meta["config"]["data"]
    began = config["train"]["init_from"]
    return {
        "run": workdir.resolve().name,
        "recipe": config["name"],
        "step": step,
        "nimg": meta["nimg"],
        "data": {
            "source": data["source"],
            "name": Path(data["path"]).name,
            "num_images": meta["num_images"],
            **{key: data[key] for key in ("labels", "xflip", "yflip")},
        },
        **({"fps": data["fps"]} if data["source"] == "video" else {}),
        "augment": config["augment"]["mode"],
        **({"init_from": Path(began).name} if began else {}),
        "label_kind": meta.get("label_kind", ""),
        "metrics": read_metrics(workdir, step, evaluated),
        "seconds": round(seconds_of(workdir, step), 1),
        "versions": meta["versions"],
    }


def read_metrics(workdir: Path, step: int, evaluated: Path | None = None) -> list[dict[str, Any]]:
    """Return the last value of each metric of a run up to a step.

    Args:
        workdir: workdir of the run.
        step: step of a checkpoint.
        evaluated: a file of metrics of the run's checkpoints, as `metrics --out` writes it.

    Returns:
        One {'metric', 'value', 'nimg', …} each; with 'interval' and 'detector' if the value is from metrics.jsonl.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in curves.read_rows(workdir / curves.STATS):
        for name, value in row.get("metrics", {}).items() if row.get("step", step + 1) <= step else ():
            name = name.removeprefix("metric/")
            if math.isfinite(value):
                found[name] = {"metric": name, "value": value, "nimg": row["nimg"]}
    rows = curves.metric_rows(workdir / curves.METRICS)
    for row in rows + (curves.metric_rows(evaluated, workdir) if evaluated is not None else []):
        if row["step"] <= step:
            found[row["metric"]] = {key: value for key, value in row.items() if key != "step"}
    return list(found.values())


def seconds_of(workdir: Path, step: int) -> float:
    """Return how long a run trained up to a step, without start-up and compilation; 0 if it was not recorded."""
    total = last = 0.0
    for row in curves.read_rows(workdir / curves.STATS):
        now = (row.get("timing") or {}).get("elapsed_sec", 0.0) if row.get("step", step + 1) <= step else last
        total, last = total + (last if now < last else 0.0), now  # each start of the command counts from 0
    return total + last


def write_card(
    model: LoadedModel,
    facts: Mapping[str, Any],
    *,
    name: str,
    address: str,
    licence: str,
    programs: str,
    figure: str = "",
) -> str:
    """Return the text of README.md.

    Args:
        model: the model.
        facts: its provenance.
        name: title.
        address: the argument for `load_model`.
        licence: the Hub's identifier; '' if none was stated.
        programs: code that calls the exported programs; '' for none.
        figure: file name of the learning curves next to the card; '' for none.
    """
    facts = readable(facts)
    parts = [_header(model, licence), f"# {name}", _summary(model), _table(model, facts)]
    parts += ["## Metrics", _metrics(facts)]
    parts += [f"![Metrics, losses and scores over the images shown]({figure})"] * bool(figure)
    parts += ["## Use", _use(model, address)]
    parts += [programs] if programs else []
    parts += ["## Intended use and limits", _limits(facts)]
    stated = f"Stated by the publisher: `{licence}`." if licence else "None was stated when this folder was written."
    parts += ["## Licence of the weights", f"{stated} {LICENCE_NOTE}"]
    return "\n\n".join(parts) + "\n"


def readable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that have the types that a run records; a stranger's model folder may hold anything else."""
    is_count = lambda x: isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1e18
    out: dict[str, Any] = {key: _line(facts[key]) for key in _TEXTS if isinstance(facts.get(key), str)}
    out |= {key: facts[key] for key in ("nimg", "step", "seconds") if is_count(facts.get(key))}
    data = facts.get("data")
    if isinstance(data, dict):
        out["data"] = {key: _line(data[key]) for key in ("source", "name", "labels") if isinstance(data.get(key), str)}
        out["data"] |= {key: data[key] for key in ("xflip", "yflip") if isinstance(data.get(key), bool)}
        out["data"] |= {"num_images": int(data["num_images"])} if is_count(data.get("num_images")) else {}
    made = facts.get("average")
    if isinstance(made, dict) and is_count(made.get("width")) and is_count(made.get("snapshots")):
        out["average"] = {key: made[key] for key in ("width", "snapshots")}
    versions = facts.get("versions")
    if isinstance(versions, dict):
        out["versions"] = {_line(k): _line(v) for k, v in versions.items() if isinstance(v, str)}
    rows = facts.get("metrics")
    out["metrics"] = [row for row in map(_metric, rows if isinstance(rows, list | tuple) else []) if row]
    return out


_TEXTS = ("recipe", "command", "augment", "init_from", "source", "sha256", "era", "run")


def _line(text: str, length: int = 200) -> str:
    """Return a text for a table's cell: one line, without characters that Markdown or a terminal would interpret."""
    return printable(" ".join(text.split()))[:length].translate(str.maketrans("`|<>", "'/()"))


def _metric(row: Any) -> dict[str, Any]:
    """Return a row of the metrics if it is as a run records it; {} for anything else."""
    is_number = lambda x: isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
    if not isinstance(row, dict) or not isinstance(row.get("metric"), str):
        return {}
    if not is_number(row.get("value")) or not is_number(row.get("nimg")):
        return {}
    interval, detector = row.get("interval"), row.get("detector")
    is_interval = isinstance(interval, list | tuple) and len(interval) == 2 and all(map(is_number, interval))
    kept = {"metric": _line(row["metric"]), "value": row["value"], "nimg": row["nimg"]}
    kept |= {"interval": interval} if is_interval else {}
    return kept | ({"detector": _line(detector)} if isinstance(detector, str) else {})


def _header(model: LoadedModel, licence: str) -> str:
    tags = [model.config.arch, "gan", "image-generation", "jax"]
    lines = [f"license: {json.dumps(licence)}"] if licence else []
    lines += ["library_name: stylegan_jax"]
    lines += [] if model.gan.spec.label_dim else ["pipeline_tag: unconditional-image-generation"]
    return "\n".join(["---", *lines, f"tags: {json.dumps(tags)}", "---"])


def _summary(model: LoadedModel) -> str:
    height, width, c = model.gan.spec.image_shape
    colour = {1: "grey", 3: "RGB", 4: "RGBA"}.get(c, f"{c}-channel")
    kind = {"multi-hot": "multi-hot labels of length {}", "vectors": "label vectors of length {}"}
    label = kind.get(model.label_kind, "{} classes").format(model.gan.spec.label_dim)
    chosen = f", conditional on a label ({label})" if model.gan.spec.label_dim else ""
    title, drawn = ARCH_RULES[model.config.arch].title, "images" if model.gan.draw_at is None else "videos"
    return (
        f"{title} generator of {width}x{height} {colour} {drawn}{chosen}: averaged weights, as a model folder of "
        f"stylegan_jax {__version__} (`model.json`, `weights.safetensors`; nothing in them can run code)."
    )


def _table(model: LoadedModel, facts: Mapping[str, Any]) -> str:
    spec, rows = model.gan.spec, []
    rows += [("architecture", model.config.arch), ("parameters", f"{count_parameters(model.g_ema):,}")]
    rows += [("latent z, style w, style slots", f"{spec.z_dim}, {spec.w_dim}, {spec.num_ws}")]
    data = facts.get("data")
    if data:
        flips = [what for key, what in (("xflip", "left to right"), ("yflip", "top to bottom")) if data.get(key)]
        mirrored = f", mirrored {' and '.join(flips)}" if flips else ""
        made_up = " (synthetic shapes)" if data.get("source") == "synthetic" else ""
        named = f"`{data['name']}`" if data.get("name") else f"source `{data.get('source', 'not known')}`"
        count = f", {data['num_images']:,} images" if data.get("num_images") else ""
        rows += [("training data", f"{named}{made_up}{count}{mirrored}")]
        rows += [("labels from", f"`{data.get('labels')}`")] * bool(spec.label_dim and data.get("labels"))
    rows += [("classes", _line(listed(model.label_names, most=200), 20_000))] * bool(model.label_names)
    if "nimg" in facts:
        steps = f", {facts['step']:,} iterations" if "step" in facts else ""
        rows += [("images shown", f"{facts['nimg'] / 1000:,.1f} kimg{steps}")]
    if seconds := facts.get("seconds"):
        rows += [("trained for", f"{seconds:,.0f} s, without start-up and compilation")]
    if before := facts.get("init_from"):
        rows += [("started from the weights of", f"`{before}`")]
    texts = ("recipe", "command", "augment", "source", "sha256", "era")
    rows += [(key, f"`{facts[key]}`") for key in texts if facts.get(key)]
    if made := facts.get("average"):
        rows += [("average", f"relative width {made['width']:g}, from {made['snapshots']} snapshots (post-hoc)")]
    versions = facts.get("versions")
    rows += [("trained with", ", ".join(f"{k} {v}" for k, v in versions.items()))] if versions else []
    return "\n".join(["| | |", "|---|---|", *[f"| {key} | {value} |" for key, value in rows]])


def _metrics(facts: Mapping[str, Any]) -> str:
    rows = facts["metrics"]
    if not rows:
        return "No metrics were recorded for this model."
    lines = ["| metric | value | 95 % interval | network | after |", "|---|---|---|---|---|"]
    for row in rows:
        interval = row.get("interval")
        between = f"{interval[0]:.4g} to {interval[1]:.4g}" if interval else "not known"
        net = row.get("detector") or "not recorded"
        lines.append(f"| {row['metric']} | {row['value']:.4g} | {between} | {net} | {row['nimg'] / 1000:,.1f} kimg |")
    return "\n".join(lines)


def _use(model: LoadedModel, address: str) -> str:
    label = ", label=0" if model.gan.spec.label_dim else ""
    if label and model.label_kind in ("multi-hot", "vectors"):
        label = f", label=[0.0] * {model.gan.spec.label_dim}"
    if model.gan.draw_at is not None:
        return (
            "```python\nfrom stylegan_jax import images, load_model\n\n"
            f'model = load_model("{address}")\n'
            f"frames = list(model.video(range(4), 64{label}))  # 64 times uint8 [4, h, w, c]; any times, any length\n"
            "grids = [images.make_grid(frame, columns=2) for frame in frames]\n"
            f'images.save_webp("videos.webp", grids, fps={model.fps or 25:g})\n```'
        )
    return (
        "```python\nfrom stylegan_jax import images, load_model\n\n"
        f'model = load_model("{address}")\n'
        f"pixels = model.sample(range(16), psi=0.7{label})  # uint8 [16, h, w, c]\n"
        'images.save_png("grid.png", images.make_grid(pixels, columns=4))\n```'
    )


def _limits(facts: Mapping[str, Any]) -> str:
    data, shown = facts.get("data"), facts.get("nimg")
    lines = ["For research on generative models, and for drawing images like those it was trained on."]
    if data and shown is not None and data.get("num_images"):
        often = f"each {shown / data['num_images']:,.1f} times on average"
        if before := facts.get("init_from"):
            often += f" in this run, without the training of `{before}`, from whose weights it started"
        lines.append(
            f"It saw {data['num_images']:,} images, {often}. What this set lacks or over-represents, the model does "
            "too."
        )
        lines.append(
            "With so few, check its images for copies of the training data before you rely on their being new."
            * (data["num_images"] < 10_000)
        )
    else:
        lines.append("Its training data are not recorded here: see where the weights come from.")
    lines.append(
        "This card was generated from the run's records, which say nothing about bias, memorised images, or the rights "
        "in the training data."
    )
    return " ".join(filter(None, lines))
