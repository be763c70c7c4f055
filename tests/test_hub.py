"""The Hub's library is asked for the right things, and what it hands back loads bit for bit."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import tiny
from stylegan_jax import hub, load_model, models
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.convert import write_model_folder
from stylegan_jax.tools import export, sample


class FakeHub(types.ModuleType):
    """Stands for huggingface_hub: repositories are folders."""

    def __init__(self, root):
        super().__init__("huggingface_hub")
        self.root, self.calls = root, []

    def snapshot_download(self, repo_id, *, revision=None, allow_patterns=None):
        self.calls.append(("download", repo_id, revision, tuple(allow_patterns)))
        source = self.root / repo_id
        if not source.exists():
            raise OSError("404 Client Error.\nRepository Not Found")
        cache = self.root / "cache" / repo_id
        for pattern in allow_patterns:
            for path in source.glob(pattern):
                (cache / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / path.relative_to(source))
        cache.mkdir(parents=True, exist_ok=True)
        return str(cache)

    def HfApi(self):
        return self

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create", repo_id, private, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, delete_patterns, commit_message):
        self.calls.append(("upload", repo_id, tuple(allow_patterns), tuple(delete_patterns)))
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tree = tiny.get_config()
    tree.model.label_dim = 0
    config = from_dict(tree).model
    g = jax.device_get(jax.jit(models.build(config).init_g)(jax.random.key(1)))
    g["w_avg"] = np.ones(config.w_dim, np.float32)
    path = tmp_path_factory.mktemp("hub") / "model"
    write_model_folder(path, dataclasses.asdict(config), {"g_ema": g}, {"label_kind": "none", "note": "random"})
    return path


def test_what_is_pushed_and_pulled_loads_bit_for_bit(fake, folder, tmp_path, capsys):
    options = [f"--run={folder}", f"--out={tmp_path / 'out'}", "--platforms=none", "--license=mit"]
    assert export.main([*options, "--push=me/my-model", "--private"]) == 0
    assert "uploaded: load_model('hf://me/my-model')" in capsys.readouterr().out
    create, upload = fake.calls
    assert create == ("create", "me/my-model", True, True)
    assert upload[1] == "me/my-model" and {"README.md", "model.json", "weights.safetensors"} <= set(upload[2])
    assert not any("pkl" in pattern or pattern == "*" for pattern in upload[2])
    text = (fake.root / "me/my-model/README.md").read_text()
    assert text.startswith('---\nlicense: "mit"') and "# my-model" in text and 'load_model("hf://me/my-model")' in text
    fake.calls.clear()
    pulled, there = load_model("hf://me/my-model@v1"), load_model(folder)
    assert fake.calls == [("download", "me/my-model", "v1", ("model.json", "weights.safetensors"))]
    jax.tree.map(np.testing.assert_array_equal, (pulled.g_ema, pulled.w_avg), (there.g_ema, there.w_avg))
    assert pulled.config == there.config and pulled.label_kind == "none" and pulled.provenance["note"] == "random"


def test_a_path_object_and_a_tool_take_the_address(fake, folder, tmp_path):
    shutil.copytree(folder, fake.root / "me/m")
    assert load_model(Path("hf://me/m")).gan.spec.z_dim == 16
    assert sample.main(["--run=hf://me/m", "--seeds=1", f"--out={tmp_path / 's'}", "--files=images"]) == 0
    assert (tmp_path / "s" / "seed0001.png").is_file()


def test_pickles_are_not_pulled(fake):
    (fake.root / "nv/ffhq").mkdir(parents=True)
    (fake.root / "nv/ffhq/network.pkl").write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=r"no model\.json and no weights\.safetensors; other formats, pickles above all"
    ):
        load_model("hf://nv/ffhq")
    assert not list((fake.root / "cache").rglob("*.pkl"))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("hf://me", "write hf://USER/NAME"),
        ("hf://a/b/c", "write hf://USER/NAME"),
        ("hf://me/gone", "hf://me/gone cannot be read: 404 Client Error. Repository Not Found"),
    ],
)
def test_addresses_that_lead_nowhere(fake, address, text):
    with pytest.raises(ConfigError, match=text):
        load_model(address)


def test_an_address_has_no_steps(fake):
    with pytest.raises(ConfigError, match="only a run's workdir has steps"):
        load_model("hf://me/m", step=3)


def test_without_the_library_the_command_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"needs huggingface_hub: pip install 'huggingface_hub.*'\.\[hub\]'"):
        load_model("hf://me/m")
    out = tmp_path / "out"
    assert export.main([f"--run={folder}", f"--out={out}", "--push=me/m", "--license=mit"]) == 2
    assert "pip install" in capsys.readouterr().err and not out.exists()


def test_a_refused_upload_says_so_and_keeps_the_folder(fake, folder, tmp_path, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("401 Unauthorized")

    monkeypatch.setattr(fake, "create_repo", refuse)
    out = tmp_path / "out"
    assert export.main([f"--run={folder}", f"--out={out}", "--platforms=none", "--push=me/m", "--license=mit"]) == 2
    assert "--push=me/m: 401 Unauthorized; log in with 'hf auth login' or set HF_TOKEN" in capsys.readouterr().err
    assert load_model(out).gan.spec.z_dim == 16
    with pytest.raises(ConfigError, match="write USER/NAME"):
        hub.push(out, "nouser")
