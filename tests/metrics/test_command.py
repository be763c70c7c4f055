"""`python -m stylegan_jax.metrics` on made-up models, sets of images and networks."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from configs import common
from stylegan_jax import models
from stylegan_jax.base import images
from stylegan_jax.config import model_from_dict
from stylegan_jax.convert import write_model_folder
from stylegan_jax.data import DataError
from stylegan_jax.data.errors import bad_images_error
from stylegan_jax.metrics import __main__ as command, detectors, opening, report
from stylegan_jax.metrics.evaluate import Result
from stylegan_jax.sampling import load

from . import toys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Return a function from arguments to (exit code, records, error text)."""
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: toys.net(n) for n in names})
    if not (tmp_path / "reals.npy").exists():
        np.save(tmp_path / "reals.npy", toys.pixels(30))

    def call(*arguments):
        base = [f"--cache={tmp_path / 'cache'}", "--num_devices=1", "--num_images=24"]
        given = {a.split("=")[0] for a in arguments}
        arguments = [a.replace("DIR", str(tmp_path)) for a in arguments]
        code = command.main([*arguments, *(a for a in base if a.split("=")[0] not in given)])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(load, "load_model", lambda path, step: toys.model())


def test_a_model_against_a_data_set(run, toy, tmp_path):
    arguments = ("--model=x", "--data=DIR/reals.npy", "--metrics=fid50k_full,is50k", "--out=DIR/out.jsonl")
    code, rows, _ = run(*arguments)
    assert code == 0 and [r["metric"] for r in rows] == ["fid24_full", "is24_mean", "is24_std"]
    first = rows[0]
    assert first["interval"][0] < first["value"] < first["interval"][1] and first["seconds"] > 0
    assert first["counts"] == {"evaluated": 24, "real": 30}
    assert first["detector"] == {"name": "inception", "digest": "inception-0", "revision": 1, "source": "made up"}
    assert len(first["data"]["images"]) == 32 and first["data"]["num_images"] == 30
    assert first["versions"].keys() >= {"stylegan_jax", "jax", "numpy"} and first["model"]["provenance"] == {
        "toy": True
    }
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    again = run(*arguments)[1]
    assert [r["value"] for r in again] == [r["value"] for r in rows]
    other = run(*arguments, "--seed=1")[1]
    assert other[0]["value"] != rows[0]["value"] and other[0]["data"] == first["data"]
    assert other[0]["model"]["digest"] == first["model"]["digest"]


def test_truncation_goes_towards_centroids(run, toy, tmp_path):
    arguments = ("--model=x", "--data=DIR/reals.npy", "--metrics=fid50k_full", "--psi=0.5")
    plain = run(*arguments)[1][0]
    found = []
    for table in (np.zeros((1, 6)), np.eye(6), np.eye(5)):  # the first is the mean style, the last of another width
        np.savez(tmp_path / "c.npz", centroids=table)
        found.append(run(*arguments, "--centroids=DIR/c.npz"))
    mean, modes = found[0][1][0], found[1][1][0]
    assert [r["metric"] for r in (plain, mean, modes)] == ["fid24_full_psi0.5", *["fid24_full_psi0.5_centroids"] * 2]
    assert mean["value"] == plain["value"] != modes["value"] and "centroids" not in plain
    assert mean["model"] == plain["model"] and mean["centroids"]["digest"] != modes["centroids"]["digest"]
    assert found[2][0] == 2 and "c.npz holds {'centroids': [5, 5]}; it must have centroids [m, 6]" in found[2][2]


def test_other_networks_are_named(run, toy):
    found = run("--model=x", "--data=DIR/reals.npy", "--metrics=fid50k_full", "--features=efficientnet_lite0")
    assert found[1][0]["metric"] == "fd24_full_efficientnet_lite0"
    assert found[1][0]["detector"]["name"] == "efficientnet_lite0"


def test_a_folder_of_images_against_a_data_set(run, tmp_path):
    for i, pixels in enumerate(toys.pixels(30)):
        (tmp_path / "made").mkdir(exist_ok=True)
        images.save_png(tmp_path / "made" / f"{i:03d}.png", pixels)
    code, rows, err = run("--data=DIR/reals.npy", "--data2=DIR/made", "--metrics=fid50k_full,lpips", "--num_images=30")
    assert code == 0, err
    values = {r["metric"]: r["value"] for r in rows}
    assert values["lpips"] == 0 and abs(values["fid30_full"]) < 1e-6
    assert rows[0]["evaluated"]["name"] == "made" and "model" not in rows[0]
    images.save_png(tmp_path / "made" / "000.png", 255 - toys.pixels(1)[0])  # the stored statistics are not these
    changed = run("--data=DIR/made", "--data2=DIR/reals.npy", "--metrics=fid50k_full", "--num_images=30")[1]
    assert changed[0]["value"] > 1e-3


def test_a_model_on_disk(run, tmp_path):
    tree = common.get_config().model.to_dict() | {"resolution": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 1}
    tree |= {"channel_base": 64, "channel_max": 4, "label_dim": 2}
    gan = models.build(model_from_dict(tree))
    net = jax.device_get(gan.init_g(jax.random.key(0))) | {"w_avg": np.zeros(8, np.float32)}
    write_model_folder(tmp_path / "model", tree, {"g_ema": net}, {"from": "a test"})
    np.savez(tmp_path / "classes.npz", images=toys.pixels(30), labels=np.arange(30) % 2)
    code, rows, err = run("--model=DIR/model", "--data=DIR/classes.npz", "--metrics=kid1k")
    assert code == 0, err
    assert [r["metric"] for r in rows] == ["kid24"]
    assert rows[0]["data"]["size"] == [8, 8] and rows[0]["data"]["resize"] == "box"
    assert rows[0]["model"]["provenance"] == {"from": "a test"}
    missing = run("--model=DIR/model", "--data=DIR/reals.npy", "--metrics=kid1k")
    assert missing[0] == 2 and missing[2].startswith(
        f"error: --data={tmp_path}/reals.npy: --labels='file' needs a .npz"
    )
    assert "config." not in missing[2]


@pytest.mark.parametrize(
    ("flips", "flag", "counts"),
    [
        ((True, True), (), {30, 100}),
        ((True, True), ("--data=DIR/reals.npy",), {30, 100}),
        ((False, True), (), {30, 60}),
        ((False, False), (), {30}),
        ((False, False), ("--mirror",), {30, 60}),
        ((True, True), ("--no-mirror",), {30}),
    ],
)
def test_mirrored_copies_as_the_run_has_them_or_as_told(flips, flag, counts, run, toy, monkeypatch, tmp_path):
    own = {"source": "memory", "path": str(tmp_path / "reals.npy"), "xflip": flips[0], "yflip": flips[1]}
    monkeypatch.setattr(opening, "run_data", lambda path: own)
    code, rows, err = run("--model=x", "--metrics=fid50k_full,fid50k", "--num_images=100", *flag)
    assert code == 0 and {r["counts"]["real"] for r in rows} == counts, err


def test_what_a_set_leaves_out_is_a_note_on_the_error_stream_and_no_warning(run, tmp_path, caplog):
    for i, pixels in enumerate(toys.pixels(30)):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"set/{i}.png")
    (tmp_path / "set/readme.txt").write_text("x")
    code, rows, err = run("--data=DIR/set", "--data2=DIR/reals.npy", "--metrics=kid1k")
    assert code == 0 and rows[0]["value"] < 0.1 and not caplog.text
    assert err == "--data: skipped: 1 file of other kinds than images (1 .txt)\n"


def test_sets_of_different_sizes_are_compared_with_a_warning(run, tmp_path, caplog):
    np.save(tmp_path / "large.npy", np.repeat(np.repeat(toys.pixels(30), 2, 1), 2, 2))
    assert run("--data=DIR/reals.npy", "--data2=DIR/large.npy", "--metrics=kid1k")[0] == 0
    assert "images of --data2 are 32x32, of --data 16x16; both are compared as stored" in caplog.text
    caplog.clear()
    assert run("--data=DIR/reals.npy", "--data2=DIR/reals.npy", "--metrics=kid1k")[0] == 0
    assert "compared as stored" not in caplog.text


def test_messages_begin_without_their_level(run, tmp_path, monkeypatch):
    np.save(tmp_path / "large.npy", np.repeat(np.repeat(toys.pixels(30), 2, 1), 2, 2))
    with monkeypatch.context() as changed:
        changed.setattr(logging.root, "handlers", [])  # those of pytest, with which basicConfig does nothing
        _, _, err = run("--data=DIR/reals.npy", "--data2=DIR/large.npy", "--metrics=kid1k")
    assert err.startswith("images of --data2 are 32x32"), err


def test_a_model_that_still_grows_is_refused(run, monkeypatch):
    growing = toys.model()._replace(is_grown=False, provenance={"step": 7})
    monkeypatch.setattr(load, "load_model", lambda path, step: growing)
    code, rows, err = run("--model=x", "--data=DIR/reals.npy", "--metrics=kid1k")
    assert code == 2 and rows == [] and "--model=x: at step 7 the model is still growing (height 16 of" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model=x", "--metrics=fit50k"), "error: metric 'fit50k': did you mean 'fid50k'"),
        (("--metrics=fid50k",), "pass exactly one of --model and --data2"),
        (("--model=x", "--data2=y", "--metrics=fid50k"), "pass exactly one of --model and --data2"),
        (("--model=x", "--metrics=fid50k_full"), "fid24_full compares with real images; pass --data"),
        (("--model=x", "--metrics=fid50k", "--data=DIR/no.zip"), "no.zip: there is no such zip"),
        (("--data=DIR/reals.npy", "--data2=DIR/no.zip", "--metrics=fid50k"), "error: --data2="),
        (("--model=x", "--metrics=fid50k", "--seed=-1"), "--seed=-1; use 0 to 4294967295"),
        (("--model=x", "--metrics=,"), "name at least one; known: fid50k_full, fid50k"),
        (
            ("--model=x", "--metrics=fid50k", "--data=DIR/reals.npy", "--features_path=inception=a,junk"),
            "'junk' names no network; write NET=PATH",
        ),
        (("--model=x", "--metrics=fid50k", "--data=DIR/no"), "neither a folder that exists nor the name of a zip"),
        (("--data2=DIR/reals.npy", "--metrics=is50k", "--num_images=31"), "has 30; add --num_images=30"),
        (("--data2=DIR/reals.npy", "--metrics=is50k", "--psi=0.5"), "--psi=0.5 applies only to generated images"),
        (
            ("--data2=DIR/reals.npy", "--metrics=is50k", "--centroids=c", "--psi=0.5"),
            "--centroids=c applies only to generated images",
        ),
        (("--model=x", "--metrics=is50k", "--centroids=c"), "centroids=c with psi=1, which does not truncate"),
        (
            ("--data2=DIR/reals.npy", "--metrics=is50k", "--classes=uniform"),
            "--classes=uniform applies only to generated images",
        ),
        (
            ("--model=x", "--metrics=kid1k", "--data=DIR/reals.npy", "--classes=uniform"),
            "--classes=uniform needs a class-conditional model, and this one has no labels",
        ),
        (("--model=x", "--metrics=fid50k", "--batch=0"), "--batch=0"),
        (("--model=x", "--metrics=fid50k", "--num_devices=-1"), "--num_devices=-1"),
        (("--model=x", "--metrics=fid50k", "--num_images=1000000000000"), "at most 10000000"),
        (("--model=x", "--metrics=fid50k", "--out=DIR/no/out.jsonl"), "No such file or directory"),
        (
            ("--model=x", "--metrics=fid50k,ppl2_wend", "--data=DIR/reals.npy", "--features_path=a"),
            "the metrics use inception, vgg16_lpips; write inception=PATH",
        ),
    ],
)
def test_mistakes_end_with_one_line(run, toy, arguments, text):
    code, rows, err = run(*arguments)
    assert code == 2 and rows == [] and text in err and len(err.splitlines()) == 1, err


def test_errors_of_the_data_name_options_of_the_command(run, tmp_path):
    np.save(tmp_path / "wide.npy", toys.pixels(3, shape=(8, 16, 3)))
    np.save(tmp_path / "grey.npy", toys.pixels(3, shape=(16, 16, 1)))
    for name, text in (("wide.npy", "another aspect ratio; crop the images"), ("grey.npy", "the model 3; convert")):
        path = str(tmp_path / name)
        with pytest.raises(DataError) as caught:
            opening.open_images(opening.data_config(path), toys.SHAPE, 3)
        said = str(opening.explain(caught.value, "--data", path))
        assert said.startswith(f"--data={path}: ") and text in said and "config." not in said
    bad = bad_images_error("made", [("a.png", "no image")], 3)
    assert "Repair or remove these" in str(opening.explain(bad, "--data2", "made"))
    assert "config." not in str(opening.explain(bad, "--data2", "made"))
    assert str(opening.explain(bad, "--data", "")).startswith(
        "the data of the run (pass --data to use others): made: 1 of 3"
    )


def test_the_data_of_a_run_is_all_of_it():
    run = {"path": "a.zip", "source": "zip", "subset": 100, "xflip": True}
    data = opening.data_config("", run)
    assert (data.subset, data.path, data.xflip) == (0, "a.zip", True)


def test_an_infinite_number_is_valid_json():
    row = report.record(Result("eqt24_int", math.inf, (math.inf, math.nan), 1.0, "", {}), {}, {})
    text = json.dumps(row, allow_nan=False)
    assert json.loads(text)["value"] is None and row["interval"] is None and row["note"] == "the value is inf"


def test_a_kernel_distance_below_zero_is_explained():
    row = report.record(Result("kid1k", -0.01, None, 1.0, "", {}), {}, {})
    assert row["value"] == -0.01 and "unbiased" in row["note"]


def test_random_fid_needs_the_file_of_its_authors(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEGAN_JAX_FEATURES", str(tmp_path))
    with pytest.raises(detectors.MetricError, match=r"(?s)'inception_random' at .*inception_rand_full\.pkl  from  the"):
        detectors.load(["inception_random"], {})


def test_attributes_need_a_network_that_is_not_here():
    with pytest.raises(detectors.MetricError, match="40 CelebA-HQ attribute classifiers"):
        detectors.load(["celeba_attributes"], {})


def test_help_comes_at_once_without_jax():
    watch = "import sys, runpy; sys.argv = ['m', '--help']\n"
    watch += "try: runpy.run_module('stylegan_jax.metrics', run_name='__main__')\n"
    watch += "except SystemExit: print('heavy:', {'jax', 'tensorflow', 'scipy'} & sys.modules.keys())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "heavy: set()" in done.stdout and "fid50k_full, fid50k, fid10k_full" in done.stdout
    assert time.monotonic() - began < 10
