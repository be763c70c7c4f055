"""Convert official .pkl files to model folders, and model folders to official state dicts.

    python -m stylegan_jax.convert --model=network.pkl --out=models/ffhq
    python -m stylegan_jax.convert --model=models/ffhq --out=official/ffhq --to=official

Nothing in a .pkl file is executed, and neither PyTorch nor TensorFlow is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.base import bundled, shortage
from stylegan_jax.base.errors import StyleganError, printable, visible
from stylegan_jax.base.flags import Parser
from stylegan_jax.convert.errors import BadCheckpointError
from stylegan_jax.convert.folder import (
    LICENCE_NOTE,
    count_parameters,
    model_config,
    new_folder,
    read_model_folder,
    save_arrays,
    save_json,
    write_model_folder,
)
from stylegan_jax.convert.importer import OURS, convert_pickle, net_kwargs, official_state_dicts
from stylegan_jax.inert.ordinary import is_url, newest_file, url_advice


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 0, or 2 after a line that says what is wrong."""
    p = parser()
    args = p.parse_args(argv)
    if (args.model is None) == (args.source is None):
        p.error("pass the model once, as --model=PATH")
    source = args.model or args.source
    wanted = args.nets.split(",")
    unknown = sorted(set(wanted) - set(OURS.values()))
    if unknown:
        print(
            visible(f"error: --nets has {', '.join(map(repr, unknown))}; known are {', '.join(OURS.values())}"),
            file=sys.stderr,
        )
        return 2
    try:
        if not source or not args.out:
            raise BadCheckpointError("", f"--{'out' if source else 'model'} is empty; write a path after the =")
        source = bundled.find_model(source)
        if os.path.realpath(source) == os.path.realpath(args.out):
            raise BadCheckpointError("", f"--out={args.out} is the model itself; choose another folder")
        if args.to == "official":
            lines = export_folder(source, args.out, wanted, overwrite=args.overwrite)
        else:
            lines = import_pickle(source, args.out, wanted, overwrite=args.overwrite)
    except Exception as error:
        told = shortage.explain(error, "convert one network at a time, such as --nets=g_ema", args.out)
        if not told and not isinstance(error, StyleganError):
            raise
        print(f"error: {visible(told or error)}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def import_pickle(source: str, out: str, wanted: Sequence[str], *, overwrite: bool) -> list[str]:
    """Write the model folder `out` from the .pkl file `source`; return the lines of a summary."""
    if is_url(source):
        raise BadCheckpointError("", url_advice(source))
    if Path(source).is_dir():
        newest = newest_file(Path(source))
        advice = f"the newest network file in it is {newest}" if newest else "pass the .pkl file"
        raise BadCheckpointError(source, f"is a folder; {advice}, or --to=official for a model folder")
    official = [name for name, ours in OURS.items() if ours in wanted]
    config, nets, provenance = convert_pickle(source, official)
    write_model_folder(out, config, nets, provenance, overwrite=overwrite)
    return _summary(source, out, config, nets, provenance)


def export_folder(source: str, out: str, wanted: Sequence[str], *, overwrite: bool) -> list[str]:
    """Write official state dicts into `out` from the model folder `source`; return the lines of a summary."""
    if (Path(source) / "checkpoints").is_dir():
        advice = f"python -m stylegan_jax.tools.export --model={printable(source)} --out=FOLDER --platforms=none"
        raise BadCheckpointError(source, f"is a run; export it as a model folder first: {advice}")
    model, nets = read_model_folder(source)
    config = model_config(model)
    nets = {name: tree for name, tree in nets.items() if name in wanted}
    states = official_state_dicts(config, nets)
    recorded = model["provenance"].get("nets", {})
    kwargs = {name: net_kwargs(config, OURS[name], _w_avg_beta(recorded, name)) for name in states}
    with new_folder(out, overwrite=overwrite) as folder:
        for name, state in states.items():
            save_arrays(folder / f"{name}.safetensors", state)
        save_json(folder / "init_kwargs.json", kwargs)
    return _summary(source, out, config, nets, model["provenance"])


def _w_avg_beta(recorded: Any, name: str) -> float:
    """Return the decay that the source file recorded, or the default of the official code."""
    try:
        value = recorded[name]["notes"]["w_avg_beta"]
    except (KeyError, TypeError):
        return 0.998
    return float(value) if isinstance(value, int | float) else 0.998


def _summary(
    source: str, out: str, config: dict[str, Any], nets: dict[str, Any], provenance: dict[str, Any]
) -> list[str]:
    rows = [("read", source), ("wrote", out), ("sha256", provenance.get("sha256", "not recorded"))]
    rows += [(name, f"{count_parameters(tree):,} parameters") for name, tree in nets.items()]
    rows += [(key, json.dumps(value)) for key, value in config.items()]
    width = max(len(key) for key, _ in rows)
    notes = [f"note: {provenance['note']}"] if provenance.get("note") else []
    if provenance.get("dropped"):
        notes += [f"note: dropped besides the networks: {', '.join(map(printable, provenance['dropped']))}"]
    return [visible(line) for line in [f"{key:<{width}}  {value}" for key, value in rows] + notes] + ["", LICENCE_NOTE]


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    p = Parser(
        prog="python -m stylegan_jax.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--model", help="official .pkl file; with --to=official a model folder")
    p.add_argument("source", nargs="?", help=argparse.SUPPRESS)  # the model, as version 0.1 spelt it
    p.add_argument("--out", required=True, help="folder to write")
    p.add_argument("--to", choices=("jax", "official"), default="jax", help="direction (default: jax)")
    p.add_argument("--nets", default=",".join(OURS.values()), help="networks to convert (default: %(default)s)")
    p.add_argument("--overwrite", action="store_true", help="replace a folder that this tool wrote")
    return p


if __name__ == "__main__":
    sys.exit(main())
