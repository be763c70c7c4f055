"""Blended models are one model, the other, or in between, part by part; what does not fit is an error."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from stylegan_jax import load_model
from stylegan_jax.base.trees import flatten
from stylegan_jax.sampling.blending import BlendError, blend, parts
from stylegan_jax.sampling.export import export_model
from stylegan_jax.tools import blend as tool


@pytest.fixture(scope="module")
def two(zoo, tmp_path_factory):
    """Return two folders with StyleGAN2 models of one shape and other weights."""
    a, folder = load_model(zoo["rgba"]), tmp_path_factory.mktemp("two") / "b"
    g = jax.tree.map(lambda x: x + 0.25 if np.issubdtype(x.dtype, np.floating) else x, a.g_ema)
    export_model(a.replace(g_ema=g, w_avg=a.w_avg - 1), folder, platforms=())
    return zoo["rgba"], folder


def test_the_parts_are_in_their_order(two, zoo):
    assert parts(load_model(two[0])) == ["mapping", "b4", "b8"]
    assert parts(load_model(zoo["stylegan3"]))[:3] == ["mapping", "input", "L0"]


def test_a_swap_takes_whole_layers(two, tmp_path, capsys):
    a, b = map(load_model, two)
    assert tool.main([f"--model={two[0]}", f"--other={two[1]}", "--swap_from=b8", f"--out={tmp_path / 'c'}"]) == 0
    assert "share of" in capsys.readouterr().out
    c = load_model(tmp_path / "c")
    ours, theirs, got = (flatten(m.g_ema) for m in (a, b, c))
    for path, x in got.items():
        np.testing.assert_array_equal(x, theirs[path] if "/b8/" in path else ours[path], err_msg=path)
        assert "filter" in path or not np.array_equal(ours[path], theirs[path])
    np.testing.assert_array_equal(c.w_avg, a.w_avg)
    assert c.provenance["blended"]["amounts"] == {"mapping": 0, "b4": 0, "b8": 1}
    assert c.sample([0]).shape == a.sample([0]).shape


def test_amounts_lie_in_between(two):
    a, b = map(load_model, two)
    whole = blend(a, b, dict.fromkeys(parts(a), 1.0))
    jax.tree.map(np.testing.assert_array_equal, (whole.g_ema, whole.w_avg), (b.g_ema, b.w_avg))
    half = blend(a, b, {"mapping": 0.5, "b4": 0.25})
    x, y, z = (flatten(m.g_ema) for m in (a, b, half))
    np.testing.assert_allclose(z["params/mapping/fc0/weight"] - x["params/mapping/fc0/weight"], 0.125, atol=1e-6)
    name = next(path for path in x if path.startswith("params/synthesis/b4/"))
    np.testing.assert_allclose(z[name], 0.75 * x[name] + 0.25 * y[name], atol=1e-6)
    np.testing.assert_allclose(half.w_avg, a.w_avg - 0.5, atol=1e-6)


def test_what_does_not_fit_is_an_error(two, zoo, tmp_path, capsys):
    a = load_model(two[0])
    with pytest.raises(BlendError, match=r"no part 'b16'; .*b8"):
        blend(a, a, {"b16": 1.0})
    with pytest.raises(BlendError, match="differ in img_channels 4 and 1"):
        blend(a, load_model(zoo["grey"]), {"b8": 1.0})
    base = [f"--model={two[0]}", f"--other={two[1]}", f"--out={tmp_path / 'x'}"]
    for more, text in {
        (): "pass exactly one of --amount",
        ("--amount=0.5", "--swap_from=b8"): "pass exactly one of --amount",
        ("--swap_from=b9",): "no such layer",
        ("--amounts=b8",): "'b8' is not PART:SHARE",
        ("--amounts=b8:nan",): "the share of 'b8' is nan",
    }.items():
        assert tool.main([*base, *more]) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
