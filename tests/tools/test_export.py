"""Exported programs draw what the model draws, for any batch; each platform has its own; the folder is a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

import jax
import numpy as np
import pytest
from jax import export as jax_export

from stylegan_jax import load_model, models
from stylegan_jax.base.backend import platform, tracing_for
from stylegan_jax.base.trees import flatten
from stylegan_jax.config import ConfigError
from stylegan_jax.ops import filtered_lrelu
from stylegan_jax.sampling import card, programs
from stylegan_jax.sampling.exported import foreign_calls, load_exported
from stylegan_jax.tools import export
from tests.tools.conftest import NAMES

LABELS = {"classes": "big", "stage": 2, "stylegan3": 1}


@pytest.fixture(scope="module")
def exported(classes_model, stage_model, zoo, tmp_path_factory):
    """Return {name: (source folder, exported folder)}."""
    root, found = tmp_path_factory.mktemp("exported"), {}
    sources = {"classes": classes_model, "stage": stage_model, "stylegan3": zoo["stylegan3"], "grey": zoo["grey"]}
    for name, source in sources.items():
        wanted = "cpu,cuda,tpu" if name == "classes" else "cpu"
        assert export.main([f"--model={source}", f"--out={root / name}", f"--platforms={wanted}"]) == 0
        found[name] = source, root / name
    return found


@pytest.mark.parametrize("name", ["classes", "stage", "stylegan3", "grey"])
def test_the_program_draws_what_the_model_draws(exported, name):
    source, folder = exported[name]
    model, program = load_model(source), load_exported(folder, "cpu")
    label = LABELS.get(name)
    ws = model.map([5, 6, 7], label, psi=0.6, cutoff=2)
    np.testing.assert_allclose(program.map([5, 6, 7], label, psi=0.6, cutoff=2), ws, rtol=1e-4, atol=1e-5)
    assert np.abs(program.synthesize(ws[:2]) - model.synthesize(ws[:2])).max() < 1e-4
    for count in (1, 3):
        got, want = program.sample(range(count), label, psi=0.7), model.sample(range(count), label=label, psi=0.7)
        assert got.dtype == np.uint8 and got.shape == want.shape and want.std() > 1
        assert np.abs(got.astype(int) - want).max() <= 1
        assert (got != want).mean() < 0.01
    assert {str(p.out_avals[0].shape[0]) for p in program.programs.values()} == {"b"}


def test_each_platform_has_its_own_lowering(exported):
    folder = exported["classes"][1] / "stablehlo"
    texts = {}
    for name in programs.PLATFORMS:
        program = jax_export.deserialize(bytearray((folder / f"synthesize.{name}.bin").read_bytes()))
        assert program.platforms == (name,)
        texts[name] = program.mlir_module()
    assert "optimization_barrier" in texts["cpu"]  # see ops.fir
    for name in ("cuda", "tpu"):
        assert "optimization_barrier" not in texts[name]
        assert "lhs_dilate = [2, 2]" in texts[name] and "lhs_dilate = [2, 2]" not in texts["cpu"]
        assert set(re.findall(r"custom_call @(\w+)", texts[name])) <= {"shape_assertion"}  # of jax.export: b >= 1
    described = json.loads((folder / "export.json").read_text())
    assert described["precision"] == dict.fromkeys(programs.PLATFORMS, "float32")  # the model says so


def test_low_precision_follows_the_platform_it_is_exported_for(exported):
    model = load_model(exported["classes"][0])
    config = dataclasses.replace(model.config, compute_dtype="auto")
    model = model._replace(config=config, gan=models.build(config))
    function = programs.functions(model.gan, "const")["synthesize"]
    flat = flatten({"g_ema": {**model.g_ema, "w_avg": model.w_avg}})
    weights = {key: flat[key] for key in flat if function.reads(key)}
    uses = {
        name: "bf16" in programs.export_function(function, weights, name).mlir_module() for name in programs.PLATFORMS
    }
    assert uses == {"cpu": False, "cuda": True, "tpu": True}


def test_lean_activations_take_any_batch(exported, monkeypatch):
    model = load_model(exported["stylegan3"][0])
    ws = model.map([1, 2, 3], 0)
    want = model.synthesize(ws)
    function = programs.functions(model.gan, "const")["synthesize"]
    flat = flatten({"g_ema": model.g_ema})
    weights = {key: flat[key] for key in flat if function.reads(key)}
    monkeypatch.setattr(filtered_lrelu, "LEAN_BYTES", 0)
    monkeypatch.setattr(filtered_lrelu, "MIN_CHANNELS", 1)
    program = programs.export_function(function, weights, "cpu")
    assert "stablehlo.while" in program.mlir_module()
    np.testing.assert_allclose(program.call(weights, ws), want, atol=1e-4)


def test_a_platform_is_part_of_the_key_of_a_trace():
    seen = []

    @jax.jit
    def f(x):
        seen.append(platform())
        return x

    with tracing_for("gpu"):
        f(1.0)
    f(1.0)
    f(1.0)
    assert seen == ["gpu", "cpu"]


def test_the_folder_is_the_model_bit_for_bit(exported):
    source, folder = exported["stylegan3"]
    a, b = load_model(source), load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, (a.g_ema, a.w_avg), (b.g_ema, b.w_avg))
    assert a.config == b.config
    assert load_model(exported["classes"][1]).label_names == NAMES and b.label_names == ()


def test_the_code_of_the_card_runs_by_jax_and_safetensors_alone(exported):
    source, folder = exported["classes"]
    text = (folder / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (alone,) = [c for c in code if "safetensors" in c]
    assert "stylegan_jax" not in alone
    names: dict = {}
    exec(alone.replace('"."', repr(str(folder))), names)
    want = load_model(source).sample(np.random.RandomState(0).randn(4, 16).astype(np.float32), psi=0.7, label=0)
    assert np.abs(np.asarray(names["pixels"]).astype(int) - want).max() <= 1
    (ours,) = [c for c in code if c != alone]
    compile(ours, "README.md", "exec")
    assert "label=0" in ours


def test_what_does_not_fit(exported, tmp_path, capsys):
    source, folder = exported["grey"]
    with pytest.raises(ConfigError, match=r"was not exported for 'tpu'; .*known: cpu"):
        load_exported(folder, "tpu")
    with pytest.raises(ConfigError, match=r"holds no exported programs .*tools.export writes them"):
        load_exported(source)
    with pytest.raises(ValueError, match="this model has no labels"):
        load_exported(folder).sample([0], label=1)
    for options, text in (
        (["--platforms=cuda,mps"], "--platforms=cuda,mps: known: cpu, cuda, tpu, none"),
        (["--push=me/x"], "--push needs --license"),
        (["--private"], "--private has no effect without --push"),
        (["--whole"], "whole: this model has no G and no D; leave it out, or pass the workdir of a run"),
        (["--license=a b"], "write an identifier of the Hub"),
    ):
        assert export.main([f"--model={source}", f"--out={tmp_path / 'x'}", *options]) == 2
        assert text in capsys.readouterr().err
    assert export.main([f"--model={source}", f"--out={folder}", "--platforms=none"]) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err


def test_an_exchanged_program_is_refused_and_a_folder_of_ours_replaced(exported, tmp_path):
    source = exported["grey"][0]
    options = [f"--model={source}", f"--out={tmp_path / 'x'}"]
    assert export.main([*options, "--platforms=cpu"]) == 0
    path = tmp_path / "x" / "stablehlo" / "map.cpu.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ConfigError, match="is not the file that export"):
        load_exported(tmp_path / "x")
    assert export.main([*options, "--platforms=none", "--overwrite", "--license=mit"]) == 0
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    text = (tmp_path / "x" / "README.md").read_text()
    assert text.startswith('---\nlicense: "mit"\nlibrary_name: stylegan_jax\n') and "stablehlo" not in text
    assert "Its training data are not recorded here" in text and "Metrics\n\nNo metrics were recorded" in text


def test_the_card_tells_what_the_run_recorded(tmp_path, classes_model):
    rows = [
        {"step": 4, "nimg": 40, "metrics": {"metric/fid5k": 90.0, "metric/kid1k": 0.5}},
        {"step": 8, "nimg": 80, "metrics": {"metric/fid5k": float("nan")}},
        {"step": 12, "nimg": 120, "metrics": {"metric/fid5k": 50.0}},
    ]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"step": 3')
    row = {"step": 8, "nimg": 80, "metric": "fid5k", "value": 70.5, "interval": [70, 71], "detector": {"name": "net"}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    found = {m["metric"]: m for m in card.read_metrics(tmp_path, 8)}
    assert found["fid5k"]["value"] == 70.5 and found["kid1k"] == {"metric": "kid1k", "value": 0.5, "nimg": 40}
    data = {"source": "zip", "path": "/home/somebody/photos.zip", "labels": "file", "xflip": True, "yflip": False}
    config = {"name": "mine", "data": data, "augment": {"mode": "ada"}, "train": {"init_from": "/home/somebody/first"}}
    meta = {"config": config, "nimg": 80_000, "num_images": 1000, "versions": {"jax": "1"}, "label_kind": "classes"}
    facts = card.run_facts(tmp_path / "runs" / "photos", meta, 8) | {"metrics": list(found.values())}
    assert "somebody" not in json.dumps(facts) and str(tmp_path) not in json.dumps(facts)
    text = card.write_card(load_model(classes_model), facts, name="Mine", address="hf://a/b", licence="", programs="")
    assert "| fid5k | 70.5 | 70 to 71 | net | 0.1 kimg |" in text
    assert "| kid1k | 0.5 | not known | not recorded | 0.0 kimg |" in text
    assert "| training data | `photos.zip`, 1,000 images, mirrored left to right |" in text
    assert "| started from the weights of | `first` |" in text
    assert "each 80.0 times on average in this run, without the training of `first`," in text
    assert "None was stated" in text and "license:" not in text
    assert (
        'load_model("hf://a/b")' in text and "3 classes" in text and "| classes | 0 cats, 1 dogs, 2 Big birds |" in text
    )


def test_the_card_of_a_model_whose_provenance_lacks_things(classes_model):
    facts = {"data": {"name": "cats"}, "nimg": 2000, "metrics": [{"metric": "fid5k"}]}
    text = card.write_card(load_model(classes_model), facts, name="A", address="b", licence="mit", programs="")
    assert "| training data | `cats` |" in text and "| images shown | 2.0 kimg |" in text
    assert "are not recorded here" in text and "No metrics were recorded" in text


def test_the_card_takes_nothing_else_out_of_a_strangers_provenance(exported, tmp_path):
    model = load_model(exported["grey"][0])
    odd = [None, 3, "x", [1], {"a": [1]}, True, 1e400, "`|<b>\n# forged\x1b[2J"]
    keys = ("data", "versions", "metrics", "nimg", "step", "recipe", "source", "label_kind", "sha256")
    for key in keys:
        for value in odd:
            nested = {"data": {"name": value, "num_images": value, "xflip": value}, "versions": {"jax": value}}
            nested["metrics"] = [value, {"metric": value, "value": value, "nimg": value}, {"metric": "fid5k"}]
            for facts in ({key: value}, nested | {"nimg": 5}):
                text = card.write_card(model, facts, name="x", address="x", licence="", programs="")
                assert "\x1b" not in text and "\n# forged" not in text


def test_a_program_that_reaches_out_of_itself_is_not_compiled(exported, tmp_path):
    source = exported["grey"][0]
    assert export.main([f"--model={source}", f"--out={tmp_path / 'x'}", "--platforms=cpu"]) == 0
    path = tmp_path / "x" / "stablehlo" / "map.cpu.bin"
    reach = jax.ffi.ffi_call("xla_ffi_python_cpu_callback", jax.ShapeDtypeStruct((3, 16), np.float32))
    back = lambda z: reach(z, index=np.uint64(123456789))  # of a table in whoever runs it
    allowed = [jax_export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")]
    made = jax_export.export(jax.jit(back), platforms=("cpu",), disabled_checks=allowed)
    path.write_bytes(bytes(made(jax.ShapeDtypeStruct((3, 16), np.float32)).serialize()))
    description = tmp_path / "x" / "stablehlo" / "export.json"
    content = json.loads(description.read_text())
    content["functions"]["map"]["files"]["cpu"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    description.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="was not compiled: custom_call @xla_ffi_python_cpu_callback"):
        load_exported(tmp_path / "x", "cpu")


def test_calls_out_of_a_program_are_found_however_they_are_printed():
    known = "stablehlo.custom_call @shape_assertion(%1) {api_version = 2 : i32} : (tensor<i1>) -> ()"
    assert foreign_calls(known) == []
    for other in (
        "stablehlo.custom_call @evil(%1)",
        'stablehlo.custom_call @"shape_assertion "(%1)',
        "stablehlo.custom_call @shape_assertion2(%1)",
        '"mhlo.custom_call"(%1) <{call_target_name = "shape_assertion"}>',
        '"stablehlo.outfeed"(%1, %2)',
        "stablehlo.send",
    ):
        assert foreign_calls(f"{known}\n{other}"), other


def test_the_card_warns_of_programs_of_strangers(exported):
    text = (exported["grey"][1] / "README.md").read_text()
    assert "run only those of people you trust" in " ".join(text.split())
