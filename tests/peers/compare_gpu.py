"""Compare the speed of ours with the official PyTorch code on one GPU: one command, no network, under 12 minutes.

Not a test, and nothing of the package imports it. Run it with the Python of this project; PyTorch needs an environment
of its own, and the official code a checkout of NVlabs/stylegan3, R3GAN one of brownvc/R3GAN (left out without it):

    python tests/peers/compare_gpu.py --torch=../torch/bin/python --repo=../stylegan3 --r3gan=../R3GAN --out=compare

First the official CUDA extensions are compiled. Then the cases run in rounds, ours and official in turn, each in a
process of its own: the same sizes, batch, cadence of regularisers and number of blocks in low precision (bfloat16 ours
and R3GAN's, float16 official), float32 elsewhere without TF32, no augmentation, one batch of synthetic images. What is
compiled or warmed up before is not in the rates, and is reported by itself. A run that would not end within --minutes
is skipped or stopped, and the table says so. After every run OUT/compare.json is written; the same command runs only
what is missing, with the whole time again. --rehearse does everything on the CPU at tiny sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
SIDES = ("ours", "official")
LEAST_SECONDS = 15.0
"""With less time left, no process is started: importing and compiling take longer."""
SETUP_SHARE = 1 / 3
"""Of the time, at most, for compiling the official extensions."""


class Case(NamedTuple):
    """What is compared: `ours` are arguments of the benchmark, `sizes` those that both sides share."""

    name: str
    arch: str
    ours: tuple[str, ...]
    batch: int
    sizes: dict[str, int]
    gamma: float
    weight: float
    """Share of the time in the first round, relative to the others'."""


FULL = (
    Case("StyleGAN2 256", "stylegan2", ("--config=configs/paper256.py",), 32,
         {"resolution": 256, "channel_base": 16384, "channel_max": 512, "mapping_layers": 8}, 1.0, 1.0),
    Case("StyleGAN3-T 256", "stylegan3-t", ("--config=configs/stylegan3_t.py:256",), 16,
         {"resolution": 256, "channel_base": 16384, "channel_max": 512, "mapping_layers": 2}, 2.0, 1.5),
    Case("StyleGAN2 1024", "stylegan2", ("--config=configs/stylegan2.py:1024",), 8,
         {"resolution": 1024, "channel_base": 32768, "channel_max": 512, "mapping_layers": 8}, 10.0, 2.0),
    Case("R3GAN 64", "r3gan", ("--config=configs/r3gan.py:ffhq64",), 32, {"resolution": 64}, 2.0, 1.0),
)  # fmt: skip
TINY = (
    Case("StyleGAN2 32", "stylegan2", ("--config=configs/stylegan2.py:32", "--config.model.conv_clamp=0"), 4,
         {"resolution": 32, "channel_base": 256, "channel_max": 16, "mapping_layers": 2}, 1.0, 1.0),
    Case("StyleGAN3-T 32", "stylegan3-t", ("--config=configs/stylegan3_t.py:128",), 4,
         {"resolution": 32, "channel_base": 256, "channel_max": 16, "mapping_layers": 2}, 2.0, 1.5),
    Case("R3GAN 32", "r3gan", ("--config=configs/r3gan_quickstart.py",), 4, {"resolution": 32}, 2.0, 1.0),
)  # fmt: skip
TINY_WIDTHS = "96,96,48,16"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True, help="Python of an environment with PyTorch")
    parser.add_argument("--repo", required=True, type=Path, help="checkout of NVlabs/stylegan3")
    parser.add_argument("--r3gan", type=Path, help="checkout of brownvc/R3GAN")
    parser.add_argument("--out", required=True, type=Path, help="folder of the results")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=3, help="at most, while there is time")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU, one thread of PyTorch")
    a = parser.parse_args(argv)
    for flag, folder, file in (("repo", a.repo, "torch_utils/misc.py"), ("r3gan", a.r3gan, "R3GAN/Networks.py")):
        if folder is not None and not (folder / file).is_file():
            parser.error(f"--{flag}={folder} has no {file}; pass the root of the checkout")
    found = shutil.which(a.torch)
    if found is None:
        parser.error(f"--torch={a.torch} is not a program; pass the python of an environment with PyTorch")
    a.torch = os.path.abspath(found)  # not resolved: an environment is known by the link's place
    if a.out.exists() and not a.out.is_dir():
        parser.error(f"--out={a.out} is a file; pass a folder")
    if a.minutes <= 0 or a.rounds < 1:
        parser.error(f"--minutes={a.minutes} must be positive, --rounds={a.rounds} at least 1")
    return a


def commands(case: Case, a: argparse.Namespace, result: Path) -> dict[str, list[str]]:
    """Return the command of each side, which writes its record to `result`."""
    lowp, repeats = (0, 1) if a.rehearse else (4, 3)
    sizes = case.sizes
    ours = [sys.executable, "-m", "stylegan_jax.tools.benchmark", *case.ours, "--config.augment.mode=none"]
    ours += ["--config.data.source=synthetic", "--config.data.path="]
    ours += [f"--config.model.{key}={value}" for key, value in sizes.items()]
    ours += [f"--config.model.num_lowp_res={lowp}", f"--config.train.batch_size={case.batch}"]
    ours += [f"--config.loss.r1_gamma={case.gamma}", "--config.model.mbstd_group=4", "--what=train,sample"]
    ours += ["--steps=16", f"--repeats={repeats}", f"--device={'cpu' if a.rehearse else 'gpu:0'}", f"--json={result}"]
    repo = a.r3gan if case.arch == "r3gan" else a.repo
    official = [a.torch, str(HERE / "official_speed.py"), f"--repo={repo}", f"--arch={case.arch}"]
    official += [f"--{key.replace('_', '-')}={value}" for key, value in sizes.items()]
    official += [f"--batch={case.batch}", f"--sample={case.batch}", f"--lowp={lowp}", f"--gamma={case.gamma}"]
    official += ["--iterations=16", f"--repeats={repeats}", f"--device={'cpu' if a.rehearse else 'cuda'}"]
    official += [f"--json={result}", *(["--threads=1"] if a.rehearse else [])]
    official += [f"--widths={TINY_WIDTHS}"] if a.rehearse and case.arch == "r3gan" else []
    return {"ours": ours, "official": official}


def run_one(command: list[str], seconds: float, result: Path, cache: Path) -> dict[str, Any]:
    """Run a command; return its record with `wall_seconds`, or {'failed': why}."""
    environment = os.environ | {"JAX_DEFAULT_MATMUL_PRECISION": "float32", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    result.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {seconds:.0f} s"}
    except OSError as error:
        return {"failed": str(error)}
    if done.returncode or not result.is_file():
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        return {"failed": f"exit code {done.returncode}: {last}"}
    return {**json.loads(result.read_text()), "wall_seconds": time.monotonic() - start}


def summarise(side: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the table needs of a side's record: rates, MiB, seconds before the rates, names and versions."""
    if "failed" in record:
        return record
    both = {"wall_seconds": record["wall_seconds"]}
    if side == "official":
        (sample,) = record["sample_img_per_sec"].values()
        return both | {
            "train": statistics.median(record["train_img_per_sec"]),
            "sample": statistics.median(sample),
            "mib": record.get("train_peak_mib"),
            "before_seconds": record["extensions_seconds"] + record["warmup_seconds"],
            "parameters": record["parameters"],
            "device": record["device"],
            "versions": f"torch {record['torch']}, CUDA {record['cuda'] or 'none'}",
        }
    programs, machine = record["programs"].values(), record["machine"]
    training = [cost for cost in programs if cost["kind"] == "train"]
    (sample,) = (cost["img_per_sec"] for cost in programs if cost["kind"] == "sample")
    return both | {
        "train": record["train"]["img_per_sec_loop"]["median"],
        "sample": sample,
        "mib": max((cost["memory"]["peak"] / 2**20 for cost in training if "memory" in cost), default=None),
        "before_seconds": sum(cost["trace_lower_seconds"] + cost["compile_seconds"] for cost in programs),
        "parameters": list(record["parameters"].values()),
        "device": machine["device_kind"],
        "versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
    }


def schedule(cases: Sequence[Case], rounds: int) -> list[tuple[str, Case, str]]:
    """Return (key, case, side) in order: round by round, so that each case has one; the sides change places."""
    turns = [
        (n, case, side) for n in range(rounds) for case in cases for side in (SIDES if n % 2 == 0 else SIDES[::-1])
    ]
    return [(f"{case.name}/{side}/{n}", case, side) for n, case, side in turns]


def allowance(case: Case, side: str, key: str, plan: Sequence, runs: dict[str, Any], left: float) -> float:
    """Return the seconds that a run may take; 0 if it should not start.

    The first run of a side has its share, by weight, of what is left for the first runs; ours, which compile their
    programs, weigh twice as much. Later ones start only if the longest run of that side of the case, and a tenth, would
    still end in time.
    """
    known = [
        run["wall_seconds"] for name, run in runs.items() if name.startswith(f"{case.name}/{side}/") and "train" in run
    ]
    if known:
        return left if 1.1 * max(known) <= left else 0.0
    if not key.endswith("/0"):
        return 0.0  # the first run did not end
    weight = lambda case, side: case.weight * (2 if side == "ours" else 1)
    waiting = [weight(c, who) for k, c, who in plan if k.endswith("/0") and k not in runs]
    share = left * weight(case, side) / sum(waiting)
    return share if share >= LEAST_SECONDS else 0.0


def run_all(plan: Sequence, state: dict[str, Any], left: Callable[[], float], start: Callable, save: Callable) -> None:
    """Run what is missing; `start(case, side, seconds)` returns a summary, `save()` writes the state."""
    runs = state["runs"]
    for key in [key for key, run in runs.items() if "train" not in run]:
        del runs[key]  # what did not end is tried again
    for key, case, side in plan:
        if key in runs:
            continue
        seconds = allowance(case, side, key, plan, runs, left())
        if seconds:
            print(f"{key}: at most {seconds:.0f} s", file=sys.stderr, flush=True)
            runs[key] = start(case, side, seconds)
        else:
            runs[key] = {"failed": "not run: it would not end in time, or the first one did not"}
        save()


def table(state: dict[str, Any]) -> str:
    """Return the results in Markdown: the median over the rounds, and the ratio ours / official."""
    done = {key: run for key, run in state["runs"].items() if "train" in run}
    lines = []
    for side in SIDES:
        names = {f"{run['device']}; {run['versions']}" for key, run in done.items() if f"/{side}/" in key}
        lines += [f"{side}: {name}" for name in sorted(names)]
    lines += [*state["notes"], ""]
    lines += ["| case, batch | side | rounds | training, img/s | sampling, img/s | training, MiB | before, s |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, batch in state["cases"].items():
        medians = {}
        for side in SIDES:
            found = [run for key, run in done.items() if key.startswith(f"{name}/{side}/")]
            if not found:
                why = state["runs"].get(f"{name}/{side}/0", {"failed": "not run"})["failed"]
                lines.append(f"| {name}, {batch} | {side} | 0 | {why} | | | |")
                continue
            medians[side] = {key: statistics.median(run[key] for run in found) for key in ("train", "sample")}
            mib = "not measured" if found[0]["mib"] is None else f"{found[0]['mib']:,.0f}"
            rates = " | ".join(spread([run[key] for run in found]) for key in ("train", "sample"))
            lines.append(
                f"| {name}, {batch} | {side} | {len(found)} | {rates} | {mib} | {found[0]['before_seconds']:.0f} |"
            )
        if len(medians) == 2:
            ratios = (f"{medians['ours'][key] / medians['official'][key]:.2f}" for key in ("train", "sample"))
            lines.append(f"| {name}, {batch} | ratio | | {' | '.join(ratios)} | | |")
            sizes = [
                next(r["parameters"] for k, r in done.items() if k.startswith(f"{name}/{side}/")) for side in SIDES
            ]
            if sizes[0] != sizes[1]:
                lines.append(f"| {name}, {batch} | | | parameters differ: {sizes[0]} and {sizes[1]} | | | |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Return the median, with the range if there are several."""
    text = f"{statistics.median(values):.1f}"
    return text if len(values) == 1 else f"{text} ({min(values):.1f} to {max(values):.1f})"


def read_state(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the stored state, or a new one; stored results with other settings are an error."""
    if not path.exists():
        return {"settings": settings, "runs": {}, "setup": None}
    try:
        state = json.loads(path.read_text())
    except ValueError as error:
        raise SystemExit(f"{path} is damaged ({error}); delete it, or use another --out") from error
    if state["settings"] != settings:
        raise SystemExit(f"{path} has results with {state['settings']}, not {settings}; use another --out")
    return state


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, write the JSON after every run, print the table."""
    a = arguments(argv)
    end = time.monotonic() + 60 * a.minutes
    left = lambda: end - time.monotonic()
    a.out.mkdir(parents=True, exist_ok=True)
    a.out, a.repo = a.out.resolve(), a.repo.resolve()
    a.r3gan = a.r3gan and a.r3gan.resolve()
    path, result, cache = a.out / "compare.json", a.out / "last.json", a.out / "programs"
    state = read_state(path, {"rehearse": a.rehearse})
    cases = [case for case in (TINY if a.rehearse else FULL) if case.arch != "r3gan" or a.r3gan]
    state["cases"] = {case.name: case.batch for case in cases}

    def save() -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(state, indent=2))
        part.replace(path)

    def start(case: Case, side: str, seconds: float) -> dict[str, Any]:
        return summarise(side, run_one(commands(case, a, result)[side], seconds, result, cache))

    if state["setup"] is None and not a.rehearse:
        command = [
            a.torch,
            str(HERE / "official_speed.py"),
            f"--repo={a.repo}",
            "--what=extensions",
            f"--json={result}",
        ]
        setup = run_one(command, SETUP_SHARE * left(), result, cache)
        state["failed_setup"] = setup.get("failed")
        state["setup"] = setup.get("extensions_seconds")
        save()
    state["notes"] = [] if a.r3gan else ["R3GAN was left out: --r3gan has its checkout."]
    if state.get("failed_setup"):
        state["notes"].append(f"The official CUDA extensions were not compiled: {state['failed_setup']}")
    if state["setup"] is not None:
        state["notes"].append(f"Compiling or loading the official CUDA extensions took {state['setup']:.0f} s.")
    run_all(schedule(cases, a.rounds), state, left, start, save)
    print(table(state))
    (a.out / "table.md").write_text(table(state) + "\n")


if __name__ == "__main__":
    main()
