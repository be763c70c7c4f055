"""Attribute classifiers: fitted to labelled images, kept in a file, used by linear separability under their name."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stylegan_jax.features import FeatureNet
from stylegan_jax.metrics import __main__ as command, attributes, detectors
from stylegan_jax.metrics.definitions import choose
from stylegan_jax.metrics.errors import MetricError
from stylegan_jax.sampling import load
from stylegan_jax.tools import attributes as tool

from . import toys


def see(params, images, outputs):
    """Return the mean of red, green and blue, and a product of two."""
    x = images.mean(axis=(1, 2)) / 127.5 - 1
    return {name: jnp.concatenate([x, x[:, :1] * x[:, 1:2]], axis=1) for name in outputs}


NET = FeatureNet("efficientnet_lite0", {"pool": 4}, {"one": np.zeros(1, np.float32)}, see, "digest", "made up")


def coloured(count=120):
    """Return noisy images uint8[n, 16, 16, 3], and whether they are red."""
    draw = np.random.default_rng(0)
    red = np.arange(count) % 3 == 0
    mean = np.where(red[:, None], (170, 90, 128), (90, 128, 150))
    noise = draw.normal(0, 40, (count, *toys.SHAPE)) + draw.normal(0, 12, (count, 1, 1, 3))
    return (mean[:, None, None] + noise).clip(0, 255).astype(np.uint8), red


def test_a_separable_attribute_is_found_and_one_of_chance_is_not():
    draw = np.random.default_rng(1)
    x = draw.standard_normal((400, 3)) * (1, 100, 1e-3) + (5, -300, 0)
    truth = np.stack([x[:, 0] + x[:, 1] / 100 > 2, draw.random(400) > 0.5], axis=1)
    weight, bias, accuracy = attributes.fit(x, truth)
    assert accuracy[0] > 0.95 and 0.3 < accuracy[1] < 0.7
    assert np.mean((x @ weight + bias > 0)[:, 0] == truth[:, 0]) > 0.97
    again = attributes.fit(x, truth)
    assert all(np.array_equal(a, b) for a, b in zip((weight, bias, accuracy), again, strict=True))
    assert not np.array_equal(attributes.fit(x, truth, seed=1)[0], weight)


def test_heads_are_those_of_scikit_learn():
    draw = np.random.default_rng(2)
    x = draw.standard_normal((150, 5))
    truth = x[:, 0] + 0.5 * draw.standard_normal(150) > 0.3
    head = attributes._logistic(x, truth)
    theirs = LogisticRegression(C=1, tol=1e-8).fit(x, truth)
    np.testing.assert_allclose(head, [*theirs.coef_[0], *theirs.intercept_], atol=2e-3)


def test_labels_become_attributes():
    one_hot = np.eye(3)[np.arange(60) % 3]
    truth, names = attributes.truths(one_hot, "classes", ("a", "b", "c"))
    assert names == ("a", "b", "c") and np.array_equal(truth, one_hot == 1)
    truth, names = attributes.truths(np.eye(2)[np.arange(60) % 2], "classes", ())
    assert names == ("1",) and np.array_equal(truth[:, 0], np.arange(60) % 2 == 1)
    with pytest.raises(MetricError, match="9 of 60 images have the attribute 'b'; a classifier needs 10"):
        attributes.truths(np.stack([np.arange(60) % 2, np.arange(60) < 9], axis=1), "multi-hot", ("a", "b"))
    with pytest.raises(MetricError, match="of the kind 'vectors'; attributes are classes or multi-hot"):
        attributes.truths(one_hot, "vectors", ())


def test_separability_runs_from_the_command_line_with_classifiers_of_ones_own(tmp_path, monkeypatch, capsys):
    nets = {"efficientnet_lite0": NET}
    monkeypatch.setattr(detectors, "load", lambda names, paths: {n: nets[n] for n in names})
    monkeypatch.setattr(load, "load_model", lambda path, step: toys.model())
    pixels, red = coloured()
    np.savez(tmp_path / "cards.npz", images=pixels, labels=red.astype(int))
    out = tmp_path / "own.npz"
    assert tool.main([f"--data={tmp_path / 'cards.npz'}", f"--out={out}"]) == 0
    assert "classifiers cards_efficientnet_lite0 in" in capsys.readouterr().out
    found = attributes.load(out)
    assert found.attributes == ("1",) and found.accuracy[0] > 0.9
    net = attributes.as_network(found, NET)
    seen = np.asarray(net.apply(net.params, pixels, ("logits",))["logits"])
    assert np.mean((seen[:, 0] > 0) == red) > 0.95
    assert json.loads((tmp_path / "own.npz.json").read_text())["accuracy"] == {"1": float(found.accuracy[0])}
    arguments = ["--model=x", "--metrics=ls", "--num_images=60", "--cache=off", "--num_devices=1"]
    assert command.main([*arguments, f"--classifiers={out}"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["metric"] for row in rows] == [f"ls_60_cards_efficientnet_lite0_{space}" for space in "zw"]
    assert all(1 <= row["value"] <= 2 for row in rows)  # of one attribute, of at most a bit
    assert "linear classifiers of 1 attributes (balanced accuracy 1 " in rows[0]["detector"]["source"]
    assert command.main([*arguments[:1], "--metrics=fid50k", f"--classifiers={out}"]) == 2
    assert "classifiers cards_efficientnet_lite0 are used by none of the metrics fid50k" in capsys.readouterr().err
    assert command.main([*arguments, f"--classifiers={tmp_path / 'cards.npz'}"]) == 2
    assert "cards.npz: not a file that tools.attributes wrote (it has no 'about'" in capsys.readouterr().err
    with pytest.raises(MetricError, match="with other weights"):
        attributes.as_network(found, NET._replace(digest="another"))
    assert choose(["ls"])[0].name == "ls"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--out=a.txt"], "--out=a.txt: pass the name of a new .npz"),
        (["--out=a.npz", "--name=a/b"], "--name='a/b': use 1 to 80 letters"),
        (["--out=a.npz", "--seed=-1"], "--seed=-1; use 0 to"),
        (["--out=a.npz", "--data=missing.zip"], "--data=missing.zip"),
    ],
)
def test_mistakes_are_answered(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels, red = coloured(60)
    np.savez("cards.npz", images=pixels, labels=red.astype(int))
    assert tool.main(["--data=cards.npz", *arguments]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "a.npz").exists()
