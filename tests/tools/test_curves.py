"""Learning curves from the records of runs; a model folder with the records of its run, as `--model=demo` is one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax import load_model
from stylegan_jax.base import bundled, images, trees
from stylegan_jax.base.bundled import recipes
from stylegan_jax.checkpoints import restore
from stylegan_jax.config import ConfigError
from stylegan_jax.convert.folder import is_model_folder
from stylegan_jax.data.labels import from_array
from stylegan_jax.metrics import opening
from stylegan_jax.sampling import curves, load, run_records
from stylegan_jax.tools import curves as tool, export
from tests.tools.conftest import NAMES

SHA = "0123456789abcdef"


def report(step: int, elapsed: float, **mean: float) -> dict:
    return {"step": step, "nimg": 10 * step, "mean": mean, "std": {}, "timing": {"elapsed_sec": elapsed}}


def distance(workdir, step: int, value: float, **more) -> dict:
    origin = {"workdir": str(workdir), "step": step, "nimg": 10 * step}
    made = {"metric": "fd2k_net", "value": value, "interval": [value - 1, value + 1], "model": {"provenance": origin}}
    return made | {"detector": {"name": "net", "source": "/home/somebody/net.pth"}} | more


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run of 300 reports, started twice, and a file of distances of two of its checkpoints."""
    folder, file = tmp_path / "runs" / "first", tmp_path / "metrics.jsonl"
    folder.mkdir(parents=True)
    rows = [
        report(step, 2.0 * (step if step < 200 else step - 199), **{"loss/g_adversarial": 1 / step, "augment/p": 0.1})
        for step in range(1, 301)
    ]
    (folder / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 301')
    others = [distance(tmp_path, 5, 1.0), {"metric": "fd2k_net", "value": 3.0}]
    rows = [distance(folder, 300, 40.0), distance(folder, 150, 70.0), distance(folder, 300, 39.0), *others]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, file


def test_curves_are_what_was_reported_and_measured(run):
    found = curves.read(*run)
    assert list(found) == ["fd2k_net", "loss/g_adversarial", "augment/p"]
    np.testing.assert_array_equal(found["fd2k_net"].kimg, [1.5, 3.0])
    np.testing.assert_array_equal(found["fd2k_net"].value, [70, 39])  # the newest of a checkpoint, of this run alone
    np.testing.assert_array_equal(found["fd2k_net"].interval, [[69, 71], [38, 40]])
    np.testing.assert_allclose(found["loss/g_adversarial"].value, 1 / np.arange(1, 301))
    assert np.isnan(found["augment/p"].interval).all() and found["augment/p"].kimg[-1] == 3.0
    assert curves.choose_panels([found]) == {
        "fd2k_net": ("fd2k_net",),
        "losses": ("loss/g_adversarial",),
        "p": ("augment/p",),
    }


def test_the_tool_draws_several_runs(run, tmp_path, capsys):
    folder, file = run
    shutil.copytree(folder, tmp_path / "second")
    both = [f"--model={folder}", f"--model={tmp_path / 'second'}"]
    assert tool.main([*both, "--names=with,without", f"--out={tmp_path / 'new' / 'a.png'}"]) == 0
    assert tool.main([f"--model={folder}", f"--metrics={file}", f"--out={tmp_path / 'b.png'}"]) == 0
    assert tool.main([*both, "--terms=augment/p", f"--out={tmp_path / 'c.svg'}"]) == 0
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    # Two panels, and three.
    with Image.open(tmp_path / "new" / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert a.width < b.width and len(np.unique(np.asarray(b.convert("RGB")).reshape(-1, 3), axis=0)) > 20
    capsys.readouterr()
    for options, text in (
        ([*both, "--names=one"], "pass 2 different names"),
        ([*both, f"--metrics={file}"], "pass one file for each --model, or none"),
        ([both[1], f"--metrics={file}"], "has no metrics of checkpoints of"),
        ([both[0], "--terms=augment/q"], "no run reports 'augment/q'; they report loss/g_adversarial, augment/p"),
        ([f"--model={tmp_path / 'new'}"], "has no stats.jsonl with reports"),
        ([both[0], f"--out={tmp_path / 'x.tiff2'}"], "cannot be written as 'tiff2'"),
    ):
        assert tool.main([f"--out={tmp_path / 'x.png'}", *options]) == 2, text
        assert text in capsys.readouterr().err


def test_records_say_all_of_the_run_and_nothing_of_the_machine(run, tmp_path):
    folder, file = run
    settings = {
        "name": "x",
        "data": {"path": "/home/somebody/photos.zip"},
        "eval": {"features_path": ("/home/a/b.pth",)},
    }
    (tmp_path / "out").mkdir()
    run_records.write_records(tmp_path / "out", folder, settings, 299, file)
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(written) == set(run_records.FILES) and is_model_folder({*written, "model.json", "README.md"})
    assert json.loads(written["config.json"])["data"] == {"path": "photos.zip"}
    assert not any(text in content for content in written.values() for text in (b"somebody", str(tmp_path).encode()))
    found, whole = curves.read(tmp_path / "out"), curves.read(*run)
    assert found["fd2k_net"].value.tolist() == [70]
    steps = 100 * found["loss/g_adversarial"].kimg
    assert len(steps) <= run_records.MAX_ROWS and steps[-1] == 299 and np.ptp(np.diff(steps)) < 1e-6
    assert set(found["loss/g_adversarial"].value) <= set(whole["loss/g_adversarial"].value)
    assert run_records.without_folders("datasets/emoji64.zip") == "datasets/emoji64.zip"


@pytest.fixture
def trained(run, classes_model, monkeypatch):
    """Return the folder of the run, whose checkpoint is a small random model, as `load_model` and `read_meta` say."""
    from configs import tiny
    from stylegan_jax.config import from_dict
    from stylegan_jax.sampling import card, export as library, load

    folder, _ = run
    config = from_dict(tiny.get_config()).to_dict()
    meta = {"config": config | {"name": "other"}, "nimg": 3000, "num_images": 64, "versions": {"jax": "1"}}
    model = load_model(classes_model)
    model = model.replace(provenance={"workdir": str(folder), "step": 300, "nimg": 3000})
    monkeypatch.setattr(load, "load_model", lambda path, *a, **b: model if path == str(folder) else load_model(path))
    monkeypatch.setattr("stylegan_jax.checkpoints.restore.read_meta", lambda *a: meta)
    monkeypatch.setattr(library, "read_meta", lambda *a: meta)
    assert card.seconds_of(folder, 300) == 2 * 199 + 2 * 101 and card.seconds_of(folder, 250) == 2 * 199 + 2 * 51
    return folder


def test_a_model_folder_with_its_records_is_the_demo_model(run, trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "checkout" / "models" / "emoji"
    words = [f"--model={trained}", "--platforms=none", "--records", f"--metrics={run[1]}", "--recipe=tiny"]
    words += [f"--commit={SHA}", "--address=demo", "--license=apache-2.0", f"--out={out}"]
    assert export.main(words) == 0, capsys.readouterr().err
    assert export.main([*words, "--overwrite"]) == 0, capsys.readouterr().err
    text = (out / "README.md").read_text()
    for line in (
        "| trained for | 600 s, without start-up and compilation |",
        "| recipe | `tiny` |",
        "| command | `stylegan-jax train --config=tiny --workdir=runs/tiny` |",
        f"| trained with | commit {SHA}, jax 1 |",
        "| fd2k_net | 39 | 38 to 40 | net | 3.0 kimg |",
        "![Metrics, losses and scores over the images shown](curves.png)",
        'load_model("demo")',
    ):
        assert line in text
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "checkout" / "stylegan_jax")
    model, again = load_model("demo"), load_model(out)
    assert trees.digest_of(model.g_ema, {}) == trees.digest_of(again.g_ema, {})
    assert model.provenance["recipe"] == "tiny" and str(tmp_path) not in json.dumps(model.provenance)
    data = opening.run_data("demo")
    assert data is not None and data["source"] == "synthetic"
    assert list(curves.read(out)) == ["fd2k_net", "loss/g_adversarial", "augment/p"]


def test_a_run_that_did_not_record_the_names_of_its_classes_gets_them_from_its_data(trained, tmp_path, monkeypatch):
    """As long as the data set is there and has the labels that the run was trained with."""
    data = tmp_path / "photos.zip"

    def write(labels: list[int]) -> None:
        with zipfile.ZipFile(data, "w") as archive:
            for i in range(3):
                archive.writestr(f"{i}.png", images.png_bytes(np.full((8, 8, 3), i, np.uint8)))
            entries = [[f"{i}.png", label] for i, label in enumerate(labels)]
            archive.writestr("dataset.json", json.dumps({"labels": entries, "label_names": NAMES}))

    meta = restore.read_meta(trained)
    meta["config"]["data"] |= {"source": "zip", "path": str(data), "labels": "file"}
    meta |= {"label_kind": "classes", "labels": from_array(np.array([0, 1, 2]), 3, "").digest}
    monkeypatch.setattr(load, "read_meta", lambda *a: meta)
    old = load.load_model(str(trained)).replace(label_kind="classes", label_names=())
    monkeypatch.setattr(load, "load_model", lambda *a, **b: old)
    for case, labels in {"its own": [0, 1, 2], "others": [0, 2, 1], "gone": None}.items():
        data.unlink(missing_ok=True) if labels is None else write(labels)
        out, want = tmp_path / case, NAMES if case == "its own" else ()
        assert export.main([f"--model={trained}", "--platforms=none", f"--out={out}"]) == 0
        assert load_model(out).label_names == want
        assert ("| classes | 0 cats, 1 dogs, 2 Big birds |" in (out / "README.md").read_text()) == bool(want)
    nets = {"g_ema": {**old.g_ema, "w_avg": old.w_avg}}
    meta["config"]["model"] = dataclasses.asdict(old.config)
    assert load.from_run("x", nets, meta, 300, {}).label_names == ()
    assert load.from_run("x", nets, meta | {"label_names": list(NAMES)}, 300, {}).label_names == NAMES


def test_what_describes_no_run_is_an_error(run, trained, classes_model, tmp_path, capsys):
    (tmp_path / "empty.jsonl").touch()
    for options, text in (
        ([f"--model={classes_model}", "--records"], "--records describes a run, and"),
        ([f"--model={classes_model}", "--to=onnx", "--records"], "--records is for --to=stablehlo"),
        ([f"--model={trained}", f"--metrics={tmp_path / 'empty.jsonl'}"], "has no metrics of checkpoints of --model="),
        ([f"--model={trained}", "--recipe=quickstart"], "its settings are not those of the run:\n  data."),
        ([f"--model={trained}", "--recipe=tiney"], "--recipe=tiney: did you mean 'tiny'?"),
        ([f"--model={trained}", "--recipe=tiny:x"], "--recipe=tiny:x: tiny takes no argument; write --recipe=tiny"),
        ([f"--model={trained}", "--recipe=emoji:third"], "configs/emoji.py:third: write one of :first, :second"),
        ([f"--model={trained}", "--commit=main"], "--commit=main: write 7 to 40 hexadecimal digits"),
    ):
        assert export.main([*options, f"--out={tmp_path / 'x'}"]) == 2
        assert text in capsys.readouterr().err


QUICKSTART_0_1 = 221.6
"""Distance of the quickstart of version 0.1, the mean of three seeds (docs/performance.md)."""

FOLDER = bundled.folder("models") / bundled.MODELS["demo"]


def test_the_demo_model_is_small_and_what_its_recipe_trains():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    assert {*run_records.FILES, "model.json", "README.md"} < {path.name for path in FOLDER.iterdir()}
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["name"] == "emoji:second" and "emoji" in recipes()
    command = "stylegan-jax train --config=emoji:second"
    assert run_records.check_recipe("emoji:second", config) == f"{command} --workdir=runs/emoji-second"
    config["train"]["init_from"] = "runs/mine"
    other = run_records.check_recipe("emoji:second", config)
    assert other == f"{command} --config.train.init_from=runs/mine --workdir=runs/emoji-second"
    model = load_model("demo")
    assert model.g is None and model.d is None and model.gan.spec.label_dim == 9
    assert model.provenance["nimg"] >= 400_000 and model.provenance["versions"]["commit"]
    (row,) = model.provenance["metrics"]
    assert row["metric"] == "fd2k_full_efficientnet_lite0" and row["value"] < QUICKSTART_0_1 / 3
    stored = [json.loads(line) for line in (FOLDER / "metrics.jsonl").read_text().splitlines()]
    assert stored[-1]["value"] == row["value"] and stored[-1]["nimg"] == row["nimg"]
    card = (FOLDER / "README.md").read_text()
    assert f"| {row['metric']} | {row['value']:.4g} |" in card and "| started from the weights of | `emoji` |" in card
    with pytest.raises(ConfigError, match="only a run's workdir has steps"):
        load_model("demo", 5)
