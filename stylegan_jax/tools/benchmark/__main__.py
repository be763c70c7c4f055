"""Measure a recipe: `python -m stylegan_jax.tools.benchmark --config=configs/quickstart.py --json=FILE`.

It uses synthetic images on the device, so only --what=data needs a data set. Any key of the recipe can be overridden,
such as --config.train.batch_size=16. Progress goes to standard error, the table to standard output.

With --target=v5e the programs are compiled for that TPU, which need not be present, and nothing is executed: the table
is their computed roofline.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stylegan_jax.base.flags import Parser


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments, without those of the configuration."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser("python -m stylegan_jax.tools.benchmark", None, head, rest, allow_abbrev=False)
    p.usage = "%(prog)s --config=FILE [--config.KEY=VALUE ...] [options]"
    p.add_argument(
        "--what",
        default="train,sample,compile",
        help="some of train, sample, data, compile (default: %(default)s); with compile, nothing comes from the "
        "compilation cache; compile alone executes nothing",
    )
    p.add_argument(
        "--programs",
        default="",
        help="only these programs, such as g_main,d_main or sample_8 (default: all); then no rate of training follows",
    )
    p.add_argument("--json", metavar="FILE", help="also write all numbers, the machine and the configuration")
    p.add_argument("--repeats", type=int, default=3, help="number of timings of each program (default: %(default)s)")
    p.add_argument("--steps", type=int, default=32, help="iterations of the training loop (default: %(default)s)")
    p.add_argument(
        "--batch",
        default="",
        help="images per call of sample, such as 8 or 8,32 (default: config.train.batch_size)",
    )
    p.add_argument(
        "--noise", choices=("const", "random", "none"), default="const", help="noise of sample (default: const)"
    )
    p.add_argument("--device", default="", help="cpu, gpu, tpu, or one device such as gpu:1 (default: JAX's default)")
    p.add_argument(
        "--target", help="v5e, v6e or v5p: compile for this TPU without one, and print the roofline of every program"
    )
    p.add_argument("--devices", type=int, help="chips of the target: 1, 2, 4, ... (default: 1)")
    p.add_argument(
        "--effort",
        type=float,
        help="effort of the target's compiler, -1 (compiles fast) to 1 (default: 0)",
    )
    p.add_argument("--force", action="store_true", help="run even if a program seems too large for the memory")
    return p


def read_options(args: argparse.Namespace) -> Any:
    """Return the checked `run.Options`.

    Raises:
        ConfigError: a value breaks a rule.
    """
    from stylegan_jax.config import ConfigError, suggest
    from stylegan_jax.tools.benchmark.run import WHAT, Options

    what = args.what.split(",")
    for name in what:
        if name not in WHAT:
            raise ConfigError(f"--what={args.what}: {name!r} is not known; {suggest(name, WHAT)}")
    chosen = args.programs.split(",") if args.programs else []
    if chosen and what == ["data"]:
        raise ConfigError(f"--programs={args.programs} needs train, sample or compile in --what")
    batches = args.batch.split(",") if args.batch else []
    for n in batches:
        if not (n.isascii() and n.isdecimal() and len(n) < 10) or int(n) < 1:
            raise ConfigError(f"--batch={args.batch}: {n!r} is not a batch size; write 8 or 8,32")
    for name in ("repeats", "steps"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}={getattr(args, name)} must be at least 1")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise ConfigError(f"--json={args.json}: the folder {Path(args.json).absolute().parent} does not exist")
    if args.target is None and args.devices is not None:
        raise ConfigError(f"--devices={args.devices} needs --target, such as --target=v5e; without it, use --device")
    if args.effort is not None and args.target is None:
        raise ConfigError(f"--effort={args.effort} needs --target, such as --target=v5e")
    if args.effort is not None and not -1 <= args.effort <= 1:
        raise ConfigError(f"--effort={args.effort} must be from -1 to 1")
    if args.target is not None and (args.device or "data" in what):
        raise ConfigError(f"--target={args.target} only compiles; leave out --device and --what=data")
    return Options(what, args.repeats, args.steps, [int(n) for n in batches], args.noise, args.force, chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    args, rest = parser().parse_known_args(argv)
    from absl import flags
    from ml_collections import config_flags

    from stylegan_jax.tools._command_line import keep_freed_memory, parse_flags

    keep_freed_memory()
    values, words = flags.FlagValues(), ["benchmark", *rest]
    config_flags.DEFINE_config_file("config", None, "Recipe.", flag_values=values, lock_config=True, sys_argv=words)
    parse_flags(words, values)
    if values["config"].value is None:
        print("error: --config is missing; pass a recipe, such as --config=configs/quickstart.py", file=sys.stderr)
        return 2
    from stylegan_jax.base import shortage
    from stylegan_jax.base.errors import StyleganError, visible
    from stylegan_jax.config import ExperimentConfig, from_dict
    from stylegan_jax.config.rules import NEED_PATH
    from stylegan_jax.tools.benchmark import machine, report, roofline, roofline_report, run

    try:
        options, given = read_options(args), values["config"].value
        if "data" not in options.what and given.data.source in NEED_PATH:
            given.data.path = given.data.path or "none"  # which nothing reads
        config = from_dict(given)
        devices = machine.find_devices("cpu" if args.target is not None else args.device)
        if args.target is not None:
            chips, effort = 1 if args.devices is None else args.devices, args.effort or 0.0
            record = roofline.examine(config, options, args.target, chips, effort, run.progress())
        else:
            record = run.benchmark(config, options, devices, run.progress())
        record["config_diff"] = run.config_diff(record["config"], ExperimentConfig().to_dict())
        print(report.table(record) if args.target is None else roofline_report.text(record))
        if args.json:
            Path(args.json).write_text(json.dumps(record, indent=2) + "\n")
    except Exception as error:
        told = shortage.explain(error, "lower config.train.batch_size, or --batch of sample", args.json, "--json")
        if not told and not isinstance(error, StyleganError | OSError):
            raise
        print(f"error: {visible(told or error)}", file=sys.stderr)
        return 1 if shortage.is_memory(error) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
