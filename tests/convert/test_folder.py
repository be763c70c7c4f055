"""Model folders and the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import forge
import numpy as np
import official
import pytest
import safetensors.numpy

from stylegan_jax import load_model
from stylegan_jax.base.trees import flatten, unflatten
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import BadCheckpointError, convert_pickle, model_config, read_model_folder, write_model_folder
from stylegan_jax.convert.__main__ import main
from stylegan_jax.convert.tables import network_tree


@pytest.fixture
def pickle_file(tmp_path) -> Path:
    path = tmp_path / "network.pkl"
    path.write_bytes(forge.dumps(official.snapshot(8)))
    return path


@pytest.fixture
def folder(tmp_path, pickle_file) -> Path:
    write_model_folder(tmp_path / "model", *convert_pickle(pickle_file))
    return tmp_path / "model"


def test_folder_round_trip(pickle_file, folder):
    config, nets, provenance = convert_pickle(pickle_file)
    model, got = read_model_folder(folder)
    assert model_config(model) == config and model["provenance"] == provenance
    assert model["architecture"] == "stylegan2" and model["nets"] == ["d", "g", "g_ema"]
    assert "non-commercial" in model["licence_note"] and str(folder.parent) not in json.dumps(model)
    want, flat = flatten(nets), flatten(got)
    assert set(flat) == set(want) and "g_ema/w_avg" in flat and "g/buffers/synthesis/b8/conv0/noise_const" in flat
    for name, value in want.items():
        np.testing.assert_array_equal(flat[name], value)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["model", "network.pkl"]


def test_writing_checks_first_and_leaves_nothing(tmp_path, pickle_file):
    config, nets, provenance = convert_pickle(pickle_file)
    del nets["g"]["params"]["synthesis"]["b4"]["const"]
    with pytest.raises(BadCheckpointError, match="g: missing: params/synthesis/b4/const"):
        write_model_folder(tmp_path / "model", config, nets, provenance)
    with pytest.raises(BadCheckpointError, match="unknown network 'ema'"):
        write_model_folder(tmp_path / "model", config, {"ema": nets["d"]}, provenance)
    with pytest.raises(BadCheckpointError):
        write_model_folder(tmp_path / "model", config, {"d": nets["d"]}, {"bad": object()})
    with pytest.raises(BadCheckpointError, match="holds no networks"):
        write_model_folder(tmp_path / "model", config, {}, provenance)
    assert [p.name for p in tmp_path.iterdir()] == ["network.pkl"]


def test_overwriting_needs_permission(tmp_path, pickle_file, folder):
    content = convert_pickle(pickle_file, ["G_ema"])
    with pytest.raises(BadCheckpointError, match="--overwrite"):
        write_model_folder(folder, *content)
    write_model_folder(folder, *content, overwrite=True)
    assert read_model_folder(folder)[0]["nets"] == ["g_ema"]
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(BadCheckpointError, match="not a folder that this tool wrote"):
        write_model_folder(other, *content, overwrite=True)
    assert (other / "thesis.txt").exists()


def test_other_architectures_are_stored_without_a_table(tmp_path):
    nets = {"g_ema": {"params": {"layer": {"weight": np.ones((2, 3), np.float32)}}}}
    write_model_folder(tmp_path / "m", {"arch": "mine", "resolution": 32, "base_size": (4, 4)}, nets, {})
    model, got = read_model_folder(tmp_path / "m")
    assert model["architecture"] == "mine" and got["g_ema"]["params"]["layer"]["weight"].shape == (2, 3)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _break(folder: Path, kind: str) -> None:
    weights, description = folder / "weights.safetensors", folder / "model.json"
    if kind == "bit":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(data)
    elif kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no json":
        description.unlink()
    elif kind == "half json":
        description.write_text(description.read_text()[:200])
    elif kind == "format":
        _edit(folder, format="x")
    elif kind == "version":
        _edit(folder, format_version=99)
    elif kind == "arguments":
        _edit(folder, arguments={"resolution": "8"})
    elif kind == "types":
        _edit(folder, arguments=[1])
    elif kind == "nets":
        _edit(folder, nets=["g"])
    else:
        arguments = json.loads(description.read_text())["arguments"]
        _edit(folder, arguments=arguments | {"resolution": 16})


@pytest.mark.parametrize(
    "kind",
    [
        "bit",
        "cut",
        "no weights",
        "no json",
        "half json",
        "format",
        "version",
        "arguments",
        "types",
        "nets",
        "resolution",
    ],
)
def test_damaged_folders(folder, kind):
    _break(folder, kind)
    with pytest.raises(BadCheckpointError) as caught:
        read_model_folder(folder)
    assert caught.value.path.startswith(str(folder))


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_mutated_folders_raise_only_our_error(folder, name):
    """The checksum is made to fit, so that the parser itself meets the damage."""
    rng = random.Random(0)
    good, description = (folder / name).read_bytes(), json.loads((folder / "model.json").read_text())
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice((1, 3, 10))):
            at = rng.randrange(min(len(data), 4000))
            data[at : at + rng.randrange(3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(3)))
        (folder / name).write_bytes(data)
        if name != "model.json":
            _edit(folder, weights=description["weights"] | {"sha256": hashlib.sha256(data).hexdigest()})
        with contextlib.suppress(BadCheckpointError):
            read_model_folder(folder)


def test_command_line_both_ways(tmp_path, pickle_file, capsys):
    model, back = tmp_path / "a" / "model", tmp_path / "back"
    assert main([f"--model={pickle_file}", f"--out={model}"]) == 0
    printed = capsys.readouterr().out
    assert "g_ema" in printed and "resolution" in printed and "non-commercial" in printed
    assert main([f"--model={model}", f"--out={back}", "--to=official"]) == 0
    assert sorted(p.name for p in back.iterdir()) == [
        "D.safetensors", "G.safetensors", "G_ema.safetensors", "init_kwargs.json",
    ]  # fmt: skip
    got = safetensors.numpy.load_file(back / "G_ema.safetensors")
    want = official.generator(8, seed=2)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    kwargs = json.loads((back / "init_kwargs.json").read_text())
    assert kwargs["G_ema"]["img_resolution"] == 8 and kwargs["D"]["epilogue_kwargs"]["mbstd_group_size"] == 4
    assert main([f"--model={model}", f"--out={back}", "--to=official"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([f"--model={model}", f"--out={back}", "--to=official", "--overwrite", "--nets=d"]) == 0
    assert sorted(p.name for p in back.iterdir()) == ["D.safetensors", "init_kwargs.json"]


def test_command_line_errors(tmp_path, pickle_file, capsys):
    assert main([f"--model={tmp_path / 'none.pkl'}", f"--out={tmp_path / 'm'}"]) == 2
    assert main([f"--model={tmp_path}", f"--out={tmp_path / 'm'}"]) == 2
    assert main([f"--model={pickle_file}", f"--out={tmp_path / 'm'}", "--nets=G"]) == 2
    assert main([f"--model={pickle_file}", f"--out={tmp_path / 'm'}", "--to=official"]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 4 and "known are g_ema, g, d" in error
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert main([f"--model={tmp_path / 'run'}", f"--out={tmp_path / 'm'}", "--to=official"]) == 2
    assert "is a run; export it as a model folder first: python -m stylegan_jax.tools.export" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


# VmHWM rather than ru_maxrss, which a child inherits from the process that started it.
LIMITED = """
import sys
from stylegan_jax.convert.__main__ import main
from stylegan_jax.convert.tables import network_tree
code = main(sys.argv[1:])
heavy = [m for m in ('torch', 'tensorflow', 'jax') if m in sys.modules]
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print('PEAK', code, int(peak.split()[1]) // 1024, heavy)
"""


def test_conversion_imports_nothing_heavy(tmp_path, pickle_file):
    """The shapes of the networks come from JAX, but a file that is damaged or hostile raises an error without it."""
    heavy = []
    for name, data in {"good": pickle_file.read_bytes(), "bad": pickle_file.read_bytes()[:-50]}.items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(data)
        command = [sys.executable, "-c", LIMITED, str(path), f"--out={tmp_path / name}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        heavy.append(done.stdout.strip().splitlines()[-1].split(maxsplit=3)[1::2])
    assert heavy == [["0", "['jax']"], ["2", "[]"]]


@pytest.mark.slow
def test_large_file_is_fast_and_small(tmp_path):
    """Three networks of 30 M parameters each: below 20 s and below 1 GB."""
    widths = [min(32768 // 2**i, 512) for i in range(2, 11)]
    sizes = {"res": 1024, "z": 512, "w": 512, "layers": 8, "channels": widths}
    kwargs = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 1024, "img_channels": 3}
    net = {
        n: forge.network("Generator", official.generator(seed=s, **sizes), kwargs) for s, n in enumerate(("G", "G_ema"))
    }
    path = tmp_path / "large.pkl"
    third = forge.network("AugmentPipe", {"x": np.zeros(29_000_000, np.float32)}, {})
    path.write_bytes(forge.dumps({**net, "augment_pipe": third}))
    del net, third
    start = time.perf_counter()
    command = [sys.executable, "-c", LIMITED, str(path), f"--out={tmp_path / 'm'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seconds = time.perf_counter() - start
    code, peak = done.stdout.strip().splitlines()[-1].split()[1:3]
    assert code == "0" and int(peak) < 1024, f"{peak} MiB"
    assert seconds < 20
    assert read_model_folder(tmp_path / "m")[0]["weights"]["parameters"]["g"] > 28_000_000


@pytest.mark.parametrize("words", [[], ["a.pkl", "--model=b.pkl"]])
def test_the_command_takes_one_model(words, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--out=x"])
    assert "pass the model once, as --model=PATH" in capsys.readouterr().err


def test_the_model_may_be_positional(tmp_path, capsys):
    assert main([str(tmp_path / "none.pkl"), "--out=x"]) == 2
    assert "none.pkl" in capsys.readouterr().err


HOSTILE = [0, -1, 1, 2**31 - 1, 10**18, 1e308, [1], {}, "x", None, True]


def _hostile_arguments(arguments: dict) -> list[tuple[str, dict]]:
    """(architecture, arguments) that no honest folder has, at every kind of base size."""
    found = []
    for base in ([4, 4], [8, 8], [4, 6]):
        for key, value in arguments.items():
            if not isinstance(value, dict):
                found += [("stylegan2", {"base_size": base, key: bad}) for bad in HOSTILE]
        for key in arguments["stylegan3"]:
            own = [arguments["stylegan3"] | {key: bad} for bad in (2 * 10**9, 1e300, 0)]
            found += [("stylegan3", {"base_size": base, "resolution": 4 * base[0], "stylegan3": x}) for x in own]
        huge = {"label_dim": 2**31 - 1, "z_dim": 2**31 - 1, "w_dim": 2**31 - 1, "channel_max": 2**31 - 1}
        found += [(arch, {"base_size": base} | huge) for arch in ("stylegan1", "stylegan2", "stylegan3")]
    return [*found, ("stylegan2", {"resolution": 2**30, "base_size": [2**29, 2**29]}), ("stylegan9", {})]


@pytest.mark.parametrize("part", [7, pytest.param(1, marks=pytest.mark.nightly)])
def test_hostile_sizes_of_a_model_folder_end_soon_with_our_error(folder, part):
    good = json.loads((folder / "model.json").read_text())
    for arch, changes in _hostile_arguments(good["arguments"])[::part]:
        _edit(folder, architecture=arch, arguments=good["arguments"] | changes)
        start = time.process_time()
        if good["arguments"] | changes == good["arguments"]:
            continue
        with contextlib.suppress(BadCheckpointError):  # some values are as good as the folder's own
            load_model(folder)
        assert time.process_time() - start < 8, changes


@pytest.mark.parametrize("change", ["an array left out", "an array of another shape", "no mean style"])
def test_folders_whose_base_is_not_4x4_are_checked_too(tmp_path, change):
    config = model_from_dict(
        {"resolution": 8, "base_size": (4, 6), "channel_max": 4, "z_dim": 4, "w_dim": 4, "label_dim": 0}
    )
    tree = unflatten({k: np.ones(x.shape, np.float32) for k, x in flatten(network_tree(config, "g_ema")).items()})
    write_model_folder(tmp_path / "m", dataclasses.asdict(config), {"g_ema": tree}, {})
    assert load_model(tmp_path / "m").gan.spec.image_shape == (8, 12, 3)
    weights = tmp_path / "m" / "weights.safetensors"
    flat = safetensors.numpy.load_file(weights)
    name = "g_ema/w_avg" if change == "no mean style" else "g_ema/params/synthesis/b4/const"
    if change == "an array of another shape":
        flat[name] = flat[name][:, :4]
    else:
        del flat[name]
    safetensors.numpy.save_file({k: np.ascontiguousarray(x) for k, x in flat.items()}, weights)
    about = json.loads((tmp_path / "m" / "model.json").read_text())["weights"]
    _edit(tmp_path / "m", weights=about | {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()})
    with pytest.raises(BadCheckpointError, match=name.removeprefix("g_ema/")):
        load_model(tmp_path / "m")
