"""Rooflines: the parser on a stored program, its counts against independent ones, the chips, the arithmetic."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from launch import slices
from stylegan_jax import roofline
from stylegan_jax.base.errors import ConfigError
from stylegan_jax.roofline import chips, costs, hlo

# Compiled by libtpu 0.0.42.1 for two v5e chips, with most of the compiler's notes left out: the gradient by the kernel
# of a 3x3 convolution of bf16[4, 128, 128, 64] per chip to 32 channels, enlarged by a FIR filter, and its mean through
# five products with a 32x32 matrix in a loop; the gradient is summed over the chips.
TEXT = (Path(__file__).parent / "two_chips.hlo").read_text()
V5E = roofline.CHIPS["v5e"]


@pytest.fixture(scope="module")
def module():
    return roofline.parse(TEXT)


@pytest.fixture(scope="module")
def record(module):
    return roofline.program(module, V5E)


@pytest.mark.parametrize(
    ("shape", "logical", "physical", "space"),
    [
        ("f32[3,3,64,32]{3,2,1,0:T(8,128)}", 4 * 9 * 64 * 32, 4 * 9 * 64 * 128, 0),
        ("f32[3,3,64,32]{2,3,1,0:T(8,128)}", 4 * 9 * 64 * 32, 4 * 9 * 128 * 32, 0),
        ("bf16[8,8,8,3]{0,3,2,1:T(4,128)(2,1)S(1)}", 2 * 8 * 8 * 8 * 3, 2 * 8 * 8 * 4 * 128, 1),
        (
            "f32[4,128,2,129,2,32]{5,2,1,4,3,0:T(2,128)}",
            4 * 4 * 128 * 2 * 129 * 2 * 32,
            4 * 4 * 129 * 2 * 128 * 2 * 128,
            0,
        ),
        ("pred[]{:T(512)}", 1, 512, 0),
        ("u32[5]{0}", 20, 20, 0),
    ],
)
def test_bytes_of_a_layout(shape, logical, physical, space):
    (array,) = hlo.arrays(shape)
    assert (array.logical, array.physical, array.space) == (logical, physical, space)


def test_arrays_of_a_tuple():
    found = hlo.arrays("(s32[]{:T(128)}, /*index=1*/(bf16[2,3]{1,0:T(8,128)(2,1)}, u8[4]))")
    assert [(a.dtype, a.dims) for a in found] == [("s32", ()), ("bf16", (2, 3)), ("u8", (4,))]


def test_module(module):
    assert module.partitions == 2 and module.entry == "main.6_spmd"
    root = [i for i in module.computations[module.entry].values() if i.is_root]
    assert [(i.opcode, i.operands) for i in root] == [("fusion", ("param.4", "all-reduce"))]
    reduced = module.computations[module.entry]["all-reduce"]
    assert [f"{f.file}:{f.line} {f.function}" for f in module.stack(reduced.frame)][:2] == [
        "stylegan_jax/ops/conv.py:91 _library",
        "stylegan_jax/ops/conv.py:53 conv2d",
    ]


def test_text_that_is_no_program():
    with pytest.raises(ValueError, match="not the HLO of a compiled program"):
        roofline.parse("HloModule empty\n")


def test_products_of_the_program(record):
    valid = 128 * 3 - 2  # pairs of position and tap inside the image, per axis
    convolutions = 2 * (2 * 4 * valid**2 * 64 * 32)  # forward, and the gradient by the kernel
    loop = 5 * (2 * 4 * 32 * 32) * 2  # forward and backward
    assert record["flops"] == pytest.approx(convolutions + loop, rel=0.04)  # the compiler cuts the height into 8 parts
    assert record["flops_padded"] > 2 * record["flops"]  # 64 and 32 channels of 128


def test_what_crosses_the_link(record):
    kernel = 2 * 3 * 3 * 64 * 32
    assert record["bytes_sent"] == 2 * (2 - 1) / 2 * kernel
    assert record["seconds"]["communication"] == kernel / 50e9


def test_loops_run_as_often_as_their_bound(module):
    repeated = [s for s in costs.steps(module, chips.CHIPS["v5e"]) if s.times > 1]
    assert {s.times for s in repeated} == {5.0} and sum(s.cost.flops for s in repeated) >= 2 * 2 * 4 * 32 * 32


def test_least_bytes_are_arguments_and_results(record):
    kernel, square, images = 4 * 9 * 64 * 32, 4 * 32 * 32, 2 * 4 * 128 * 128 * 64
    assert record["bytes_least"] == images + square + 2 * kernel
    assert record["seconds"]["least"] == pytest.approx(max(record["flops"] / 197e12, record["bytes_least"] / 819e9))


def test_enlarging_is_what_costs(record):
    assert record["bound_by"] == "memory" and record["padding"]["memory"] > 0.5
    spread = [s for s in record["top"] if s["result"] == "f32[4,128,2,129,2,32]"]
    assert len(spread) == 6 and {s["kind"] for s in spread} == {"FIR"}
    assert {s["source"][0] for s in spread} == {"ops/fir.py:188 _filter"}
    assert spread[0]["bytes"] == 4 * 4 * 128 * 2 * 129 * 2 * 128  # written; what it reads is on the chip
    assert spread[0]["seconds"] == spread[0]["bytes"] / 819e9


def test_kinds_add_up(record):
    assert tuple(record["kinds"]) == costs.KINDS
    for key, whole in (
        ("seconds", record["seconds"]["in_order"]),
        ("bytes", record["bytes"]),
        ("cycles", record["cycles"]),
    ):
        assert sum(kind[key] for kind in record["kinds"].values()) == pytest.approx(whole)
    assert sum(kind["share"] for kind in record["kinds"].values()) == pytest.approx(1)
    assert record["kinds"]["convolution"]["flops"] == pytest.approx(record["flops"])
    assert record["kinds"]["collective"]["seconds"] == record["seconds"]["communication"]
    s = record["seconds"]
    assert (
        s["least"] < s["larger"] == max(s[part] for part in ("arithmetic", "memory", "communication")) < s["in_order"]
    )
    assert record["compiler_seconds"] == pytest.approx(record["cycles"] / 1.503e9, rel=1e-3)


LABELS = ("b01f_01io->b01f", "b01f_01oi->b01f", "f01b_i01o->01bf")
WINDOWS = [
    ((5, 6), (3, 3), {"pad": "1_1x1_1"}),
    ((7, 6), (3, 2), {"stride": "2x2", "pad": "0_1x1_0"}),
    ((4, 3), (3, 3), {"pad": "2_2x2_3", "lhs_dilate": "2x2"}),
    ((9, 8), (4, 3), {"rhs_dilate": "2x1"}),
]


@pytest.mark.parametrize(("labels", "window"), list(itertools.product(LABELS, WINDOWS)))
def test_operations_of_convolutions(labels, window):
    """Against counting every multiplication of every position, one by one."""
    size, taps, fields = window
    read = lambda key, default: [[int(v) for v in p.split("_")] for p in fields.get(key, default).split("x")]
    pads, strides = read("pad", "0_0x0_0"), read("stride", "1x1")
    base, dilation = read("lhs_dilate", "1x1"), read("rhs_dilate", "1x1")
    n, i, o, out, pairs = 2, 5, 7, [], 1
    for axis in range(2):
        stuffed = np.zeros((size[axis] - 1) * base[axis][0] + 1)
        stuffed[:: base[axis][0]] = 1
        stuffed = np.pad(stuffed, pads[axis])
        reach = (taps[axis] - 1) * dilation[axis][0] + 1
        starts = range(0, len(stuffed) - reach + 1, strides[axis][0])
        out.append(len(starts))
        pairs *= int(sum(stuffed[s : s + reach : dilation[axis][0]].sum() for s in starts))
    letters = {"b": n, "f": i, "i": i, "o": o}
    left, right, result = labels.replace("->", "_").split("_")
    dims = lambda names, sides, own: ",".join(str(sides[int(c)]) if c.isdigit() else str(own[c]) for c in names)
    fields = "".join(f" {k}={v}" for k, v in fields.items())
    text = (
        "HloModule one, is_scheduled=true\n\nENTRY %main (x: f32[1]) -> f32[1] {\n"
        f"  %x = bf16[{dims(left, size, letters)}] parameter(0)\n"
        f"  %w = bf16[{dims(right, taps, letters)}] parameter(1)\n"
        f"  ROOT %y = bf16[{dims(result, out, letters | {'f': o})}] convolution(%x, %w), "
        f"window={{size={taps[0]}x{taps[1]}{fields}}}, dim_labels={labels}\n}}\n"
    )
    (step,) = costs.steps(roofline.parse(text), chips.CHIPS["v5e"])
    assert step.cost.kind == "convolution"
    assert step.cost.flops == pytest.approx(2 * n * pairs * i * o)
    dense = 2 * math.prod(
        -(-v // side) * side for v, side in ((i * math.prod(taps), 128), (o, 128), (n * math.prod(out), 8))
    )
    assert step.cost.padded == pytest.approx(dense * pairs / math.prod((*out, *taps)))


@pytest.mark.parametrize(("precision", "passes"), [("", 1), ("high", 3), ("highest", 6)])
def test_float32_products_take_several_passes(precision, passes):
    extra = f", operand_precision={{{precision},{precision}}}" if precision else ""
    text = (
        "HloModule one\n\nENTRY %main (x: f32[1]) -> f32[1] {\n  %x = f32[16,32]{1,0} parameter(0)\n"
        "  %w = f32[32,64]{1,0} parameter(1)\n  ROOT %y = f32[16,64]{1,0} dot(%x, %w), lhs_contracting_dims={1}, "
        f"rhs_contracting_dims={{0}}{extra}\n}}\n"
    )
    (step,) = costs.steps(roofline.parse(text), chips.CHIPS["v5e"])
    assert step.cost.flops == passes * 2 * 16 * 32 * 64 and step.cost.moved == 4 * (16 * 32 + 32 * 64 + 16 * 64)


def test_fusion_reads_only_the_slice_it_takes():
    text = (
        "HloModule one\n\n%fused (p: f32[64,128]) -> f32[8,128] {\n  %p = f32[64,128]{1,0:T(8,128)} parameter(0)\n"
        "  %s = f32[8,128]{1,0:T(8,128)} slice(%p), slice={[0:8], [0:128]}\n"
        "  ROOT %n = f32[8,128]{1,0:T(8,128)} negate(%s)\n}\n\nENTRY %main (x: f32[64,128]) -> f32[8,128] {\n"
        "  %x = f32[64,128]{1,0:T(8,128)} parameter(0)\n"
        "  ROOT %y = f32[8,128]{1,0:T(8,128)S(1)} fusion(%x), kind=kLoop, calls=%fused\n}\n"
    )
    (step,) = costs.steps(roofline.parse(text), chips.CHIPS["v5e"])
    assert (step.cost.kind, step.cost.read, step.cost.written) == (
        "element-wise",
        4 * 8 * 128,
        0,
    )  # it stays on the chip


def test_an_update_in_place_moves_only_the_update():
    text = (
        "HloModule one\n\nENTRY %main (x: f32[64,128], y: f32[8,128], i: s32[]) -> f32[64,128] {\n"
        "  %x = f32[64,128]{1,0:T(8,128)} parameter(0)\n  %y = f32[8,128]{1,0:T(8,128)} parameter(1)\n"
        "  %i = s32[]{:T(128)} parameter(2)\n"
        "  ROOT %z = f32[64,128]{1,0:T(8,128)} dynamic-update-slice(%x, %y, %i, %i)\n}\n"
    )
    (step,) = costs.steps(roofline.parse(text), chips.CHIPS["v5e"])
    index = 2 * 4 * 128  # two numbers, each a tile of 128
    assert (step.cost.read - index, step.cost.written) == (4 * 8 * 128, 4 * 8 * 128)


@pytest.mark.parametrize(
    ("groups", "sent"),
    [
        ("{{0,1,2,3}}", 1.5),
        ("[2,2]<=[4]", 1.0),
        ("mesh['a'=2,'b'=4] {'b'}", 1.5),
        ("mesh['a'=2,'b'=4] {'a','b'}", 1.75),
    ],
)
def test_groups_of_a_collective(groups, sent):
    text = (
        "HloModule one, num_partitions=8\n\nENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8]{0} parameter(0)\n"
        f"  ROOT %y = f32[8]{{0}} all-reduce(%x), replica_groups={groups}, to_apply=%add\n}}\n"
    )
    (step,) = costs.steps(roofline.parse(text), chips.CHIPS["v5e"])
    assert (step.cost.kind, step.cost.sent) == ("collective", sent * 32)


def test_iteration_by_hand():
    program = lambda ms, by: {
        "seconds": {"arithmetic": 0.001, "memory": ms / 1000, "communication": 0.0, "larger": ms / 1000}
        | {"in_order": 2 * ms / 1000, "least": 0.001},
        "compiler_seconds": by,
        "bytes": 100.0,
        "flops": 10.0,
    }
    found = roofline.iteration({"main": program(4, 0.01), "reg": program(8, 0.02)}, {"main": 1, "reg": 1 / 4}, 12)
    assert found["seconds"]["larger"] == pytest.approx(0.006) and found["img_per_sec"]["larger"] == pytest.approx(2000)
    assert found["img_per_sec"]["in_order"] == pytest.approx(1000)
    assert found["img_per_sec"]["least"] == pytest.approx(12 / 0.00125)
    assert found["img_per_sec"]["compiler"] == pytest.approx(12 / 0.015)
    assert (found["bound_by"], found["bytes"], found["flops"]) == ("memory", 125.0, 12.5)
    unknown = roofline.iteration({"main": program(4, None)}, {"main": 1}, 12)
    assert unknown["seconds"]["compiler"] is None and "compiler" not in unknown["img_per_sec"]


@pytest.mark.parametrize(("target", "family"), [("v5e", "v5litepod"), ("v6e", "v6e"), ("v5p", "v5p")])
def test_slices_are_those_of_the_launchers(target, family):
    known = slices.FAMILIES[family].topologies
    for count in (2**k for k in range(9)):
        shape = chips.slice_shape(count, chips.CHIPS[target].axes)
        assert math.prod(shape) == count
        assert "x".join(map(str, shape)) == known.get(count, "x".join(map(str, shape)))


@pytest.mark.parametrize(
    ("target", "count", "message"),
    [
        ("v5f", 1, r"--target=v5f: did you mean .* known: v5e, v6e, v5p"),
        ("gpu", 1, r"--target=gpu: known: v5e, v6e, v5p"),
        ("v5e", 3, r"--devices=3: a slice of v5e has 1, 2, 4, \.\.\. or 256 chips"),
        ("v6e", 0, r"--devices=0"),
        ("v6e", 512, r"--devices=512"),
    ],
)
def test_bad_targets(target, count, message):
    with pytest.raises(ConfigError, match=message):
        roofline.compile_devices(target, count)
