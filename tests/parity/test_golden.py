"""Every golden case of a folder against its bounds, in float64 and in float32 (docs/parity.md).

In the gate, some networks run in float64 only.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from . import cases
from .augment_adapters import ADAPTERS as AUGMENT
from .drag_adapter import ADAPTERS as DRAG
from .elpips_adapters import ADAPTERS as ELPIPS
from .encoder_adapters import ADAPTERS as ENCODERS
from .encoder_training_adapters import ADAPTERS as ENCODER_TRAINING, PROGRAMS as ITERATIONS
from .equivariance_adapter import ADAPTERS as EQUIVARIANCE
from .inversion_adapters import ADAPTERS as INVERSION
from .metrics_adapters import ADAPTERS as METRICS
from .model_adapters import ADAPTERS as MODELS
from .ops_adapters import ADAPTERS as OPS
from .projected_adapters import ADAPTERS as PROJECTED
from .r3gan_adapters import ADAPTERS as R3GAN
from .sgv_adapters import ADAPTERS as STYLEGANV
from .sgv_training_adapter import ADAPTERS as CLIPS
from .stylegan1_adapter import ADAPTERS as STYLEGAN1
from .stylegan3_adapters import ADAPTERS as STYLEGAN3
from .training_adapter import ADAPTERS as TRAINING
from .xl_adapters import ADAPTERS as XL
from .xl_training_adapter import ADAPTERS as PHASES

ADAPTERS = OPS | MODELS | STYLEGAN1 | STYLEGAN3 | R3GAN | XL | PROJECTED | STYLEGANV | CLIPS | TRAINING | AUGMENT
ADAPTERS |= EQUIVARIANCE | METRICS | ELPIPS | PHASES | DRAG | ENCODERS | INVERSION | ENCODER_TRAINING

# Families whose architecture or feature does not exist here yet; the only cases that are not compared.
NOT_YET: dict[str, str] = {}

# Whole networks are mostly compilation. All run in float64; in float32 these do, and the others in the nightly tests.
NETWORKS = ("generator/", "discriminator/", "training/one-and-a-half")
NETWORKS += ("video/stylegan-v generator", "video/stylegan-v video discriminator", "video/one-and-a-half")
# Several programs, which compile themselves: one each for all phases would take minutes to compile.
PROGRAMS = {*PHASES, *ITERATIONS, "encoder/ReStyle's iterative encoders"}
# Behind ReLU6 a flipped activation moves float32 gradients by per cents, so float64 is the check there. Of whole
# projected discriminators the one with two frozen networks and labels is in the gate, in parts the other too.
FLOAT64_ONLY = ("projected/projected discriminator", "projected/vision transformer", "projected/efficientnet")
FLOAT64_ONLY += ("training/training iterations of stylegan-xl",)
# Of whole encoders one precision is enough in the gate; their parts run in both.
FLOAT64_ONLY += ("encoder/e4e and pSp encoders", "encoder/ReStyle's iterative encoders", "encoder/training iterations")
NIGHTLY = {
    "xl_projected_discriminator",
    "xl_training_stem",
    "xl_training_stem_pl_cond",
    "xl_training_superres_cond",
}
FLOAT32 = {
    "sg2_path_length_skip_8",
    "sg2_discriminator_resnet_16_cond_mb2x2",
    "sg3_generator_r_16_clamp",
    "sgv_discriminator_2f_cond",
    "sgv_generator_sum_w",
    "sgv_training_step_ada",
    "training_step_skip_resnet_8",
    "xl_generator_r_16",
    "xl_superres_reload",
    "xl_superres_t_32_up2",
}


def compute(case: cases.Case, precision: str) -> dict[str, np.ndarray]:
    """Run the adapter of a case at a precision; filters are constants, everything else is traced but of `PROGRAMS`."""
    dtype = np.dtype(precision)
    arrays = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in case.arrays.items()}
    given = {k: v for k, v in arrays.items() if k.startswith(("in/", "state/"))}
    kind = f"{case.meta['family']}/{case.meta['object']}"
    run = lambda traced: ADAPTERS[kind](case.meta, traced, given)
    with jax.enable_x64(precision == "float64"):
        out = (run if kind in PROGRAMS else jax.jit(run))(given)
        return jax.device_get(out)


def check(case: cases.Case, got: dict[str, np.ndarray], precision: str) -> list[str]:
    """Return one line per array outside its bounds, and one per array that was expected and not computed."""
    wrong, report, leaping, total = [], [], [], 0
    for key, want in case.expected().items():
        if key not in got:
            wrong.append(f"{key}: not computed")
            continue
        rtol, atol = case.bounds(key, precision)
        have = np.asarray(got[key]).reshape(want.shape) if np.size(got[key]) == want.size else np.asarray(got[key])
        if have.shape != want.shape:
            wrong.append(f"{key}: shape {have.shape}, expected {want.shape}")
            continue
        error = np.abs(have.astype(np.float64) - want)
        excess = float(np.max(error - rtol * np.abs(want), initial=-np.inf))
        largest = float(np.max(error, initial=0.0))
        report.append(f"{key}: max |error| {largest:.3g}, bound {atol:.3g} + {rtol:.3g} |x|")
        leap = case.leap(key, precision)
        total += want.size if leap else 0
        if leap and atol < excess and largest <= leap:
            leaping += [report[-1]] * int(np.sum(error > atol + rtol * np.abs(want)))
        elif not excess <= atol:
            wrong.append(report[-1])
    print("\n".join(report))
    return wrong + (leaping if len(leaping) > total / 1000 else [])


def is_nightly(family: str, name: str, precision: str) -> bool:
    if precision == "float64":
        return name in NIGHTLY
    return family.startswith(FLOAT64_ONLY) or (family.startswith(NETWORKS) and name not in FLOAT32)


def golden_cases(folder: Path) -> list:
    """Return parameters of (folder, name) and precision, marked where they wait for the nightly tests."""
    found = []
    for name in cases.list_names(folder):
        family = cases.family(folder, name)
        for precision in ("float64", "float32") if family not in NOT_YET else ():
            marks = [pytest.mark.nightly] if is_nightly(family, name, precision) else []
            found.append(pytest.param((folder, name), precision, id=f"{name}-{precision}", marks=marks))
    return found


def pytest_generate_tests(metafunc):
    if "golden_case" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden-dir") or cases.DEFAULT_DIR)
        metafunc.parametrize(("golden_case", "precision"), golden_cases(folder))


def test_golden_case_is_within_its_bounds(golden_case, precision):
    case = cases.load(*golden_case)
    wrong = check(case, compute(case, precision), precision)
    assert not wrong, f"{case.name} at {precision}: {len(wrong)} arrays differ\n" + "\n".join(wrong[:20])


def test_every_kind_of_case_has_a_float64_and_a_float32_one_in_the_gate():
    kinds = {"float64": set(), "float32": set()}
    for param in golden_cases(cases.DEFAULT_DIR):
        (folder, name), precision = param.values
        if not param.marks:
            kinds[precision].add(cases.family(folder, name))
        assert not (param.marks and precision == "float64") or name in NIGHTLY, name
    assert kinds["float64"] == kinds["float32"] | {kind for kind in kinds["float64"] if kind.startswith(FLOAT64_ONLY)}


def test_every_case_is_compared_or_named_as_not_due(request):
    folder = Path(request.config.getoption("--golden-dir") or cases.DEFAULT_DIR)
    names = cases.list_names(folder)
    assert names, f"no golden cases in {folder}"
    unknown = {n: f for n in names if (f := cases.family(folder, n)) not in ADAPTERS and f not in NOT_YET}
    assert not unknown, f"cases without an adapter: {unknown}"
    waiting = sorted(n for n in names if cases.family(folder, n) in NOT_YET)
    print(f"{len(names) - len(waiting)} cases compared; {len(waiting)} wait for their feature: {', '.join(waiting)}")
