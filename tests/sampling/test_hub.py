"""The Hub's library is asked for the right things, and what it hands back loads bit for bit."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import shutil
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax import load_model
from stylegan_jax.config import ConfigError
from stylegan_jax.sampling import exported, hub
from stylegan_jax.sampling.exported import load_exported
from stylegan_jax.tools import export, sample


class FakeHub(types.ModuleType):
    """Stands for huggingface_hub: repositories are folders, patterns are `fnmatch`'s on paths, as there."""

    def __init__(self, root):
        super().__init__("huggingface_hub")
        self.root, self.calls, self.public = root, [], set()

    def snapshot_download(self, repo_id, *, revision=None, allow_patterns=None):
        self.calls.append(("download", repo_id, revision, tuple(allow_patterns)))
        source = self.root / repo_id
        if not source.exists():
            raise OSError("404 Client Error.\nRepository Not Found")
        cache = self.root / "cache" / repo_id
        cache.mkdir(parents=True, exist_ok=True)
        self.copy(source, cache, allow_patterns)
        return str(cache)

    @staticmethod
    def matches(folder, patterns):
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]

    def copy(self, source, target, patterns):
        for name in self.matches(source, patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)

    def HfApi(self):
        return self

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create", repo_id, private, exist_ok))
        if not private and not (self.root / repo_id).exists():
            self.public.add(repo_id)
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def repo_info(self, repo_id):
        return types.SimpleNamespace(private=repo_id not in self.public)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, delete_patterns, commit_message):
        self.calls.append(("upload", repo_id, tuple(allow_patterns), tuple(delete_patterns)))
        for name in self.matches(self.root / repo_id, delete_patterns):
            (self.root / repo_id / name).unlink()
        self.copy(Path(folder_path), self.root / repo_id, allow_patterns)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


@pytest.fixture(scope="module")
def programs(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "model"
    assert export.main([f"--model={folder}", f"--out={path}", "--platforms=cpu"]) == 0
    return path


def test_what_is_pushed_and_pulled_loads_bit_for_bit(fake, folder, tmp_path, capsys):
    options = [f"--model={folder}", f"--out={tmp_path / 'out'}", "--platforms=none", "--license=mit"]
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


def test_programs_are_pushed_and_pulled_and_old_ones_removed(fake, folder, programs, tmp_path):
    out = shutil.copytree(programs, tmp_path / "out")
    (out / "notes.pkl").write_bytes(b"x")
    hub.push(out, "me/m")
    there, own = fake.root / "me/m", ["README.md", "model.json", "weights.safetensors"]
    files = ["export.json", "map.cpu.bin", "sample.cpu.bin", "synthesize.cpu.bin"]
    assert fake.matches(there, ["*"]) == sorted([*own, *(f"stablehlo/{name}" for name in files)])
    program = load_exported("hf://me/m", "cpu")
    assert fake.calls[-1] == ("download", "me/m", None, hub.EXPORTED_FILES)
    assert np.abs(program.sample([1, 2]).astype(int) - load_model(folder).sample([1, 2])).max() <= 1
    shutil.rmtree(out / "stablehlo")
    hub.push(out, "me/m")
    assert fake.matches(there, ["*"]) == own


def test_private_uploads_to_no_public_repository(fake, folder, tmp_path, capsys):
    hub.push(folder, "me/seen")
    fake.calls.clear()
    options = [f"--model={folder}", f"--out={tmp_path / 'out'}", "--platforms=none", "--license=mit", "--push=me/seen"]
    assert export.main([*options, "--private"]) == 2
    assert "--private: me/seen exists and is public; make it private" in capsys.readouterr().err
    assert [call[0] for call in fake.calls] == ["create"]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["format"], "zip", "holds no exported programs (the format is 'zip')"),
        (["format_version"], 2, "the format version 2, this code reads 1"),
        (["functions"], {"../../x": {}}, "export.json is damaged (KeyError: 'map')"),
        (["functions", "map", "files"], {}, "export.json is damaged (KeyError: 'cpu')"),
        (["functions", "sample", "inputs"], [], "export.json is damaged (KeyError: 'z')"),
        (["label_kind"], None, "export.json is damaged (KeyError: 'label_kind')"),
        (["precision"], None, "export.json is damaged (TypeError"),
        (["functions", "map", "weights"], ["gone"], "weights.safetensors does not hold what export.json names ("),
    ],
)
def test_a_description_of_anybody_is_checked(fake, programs, path, value, text):
    content = json.loads((programs / "stablehlo/export.json").read_text())
    *parents, last = path
    part = content
    for key in parents:
        part = part[key]
    part[last] = value
    if last == "label_kind":
        del part[last]
    shutil.copytree(programs, fake.root / "me/odd")
    (fake.root / "me/odd/stablehlo/export.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(text)):
        load_exported("hf://me/odd", "cpu")


def test_a_program_that_is_none_and_nets_that_no_function_reads(programs, tmp_path, monkeypatch):
    out = shutil.copytree(programs, tmp_path / "out")
    about = json.loads((out / "stablehlo/export.json").read_text())
    weights = safetensors.numpy.load_file(out / "weights.safetensors")
    safetensors.numpy.save_file(weights | {"d/params/x": np.zeros(3)}, out / "weights.safetensors")
    about["weights"]["sha256"] = hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
    (out / "stablehlo/export.json").write_text(json.dumps(about))
    placed = []
    monkeypatch.setattr(exported.jax, "device_put", lambda tree: placed.append(tree) or tree)
    load_exported(out, "cpu")
    assert sorted(placed[0]) == sorted(name for name in weights if name.startswith("g_ema/"))
    (out / "stablehlo/map.cpu.bin").write_bytes(b"no program")
    about["functions"]["map"]["files"]["cpu"]["sha256"] = hashlib.sha256(b"no program").hexdigest()
    (out / "stablehlo/export.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=r"map\.cpu\.bin is not a program that JAX can read"):
        load_exported(out, "cpu")


def test_a_path_object_and_a_tool_take_the_address(fake, folder, tmp_path):
    shutil.copytree(folder, fake.root / "me/m")
    assert load_model(Path("hf://me/m")).gan.spec.z_dim == 16
    assert sample.main(["--model=hf://me/m", "--seeds=1", f"--out={tmp_path / 's'}", "--files=images"]) == 0
    assert (tmp_path / "s" / "seed0001.png").is_file()


def test_pickles_are_not_pulled(fake):
    (fake.root / "nv/ffhq").mkdir(parents=True)
    (fake.root / "nv/ffhq/network.pkl").write_bytes(b"x")
    with pytest.raises(
        ConfigError,
        match=r"is not a stylegan_jax model \(missing: model\.json, weights\.safetensors\); other ",
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
    assert export.main([f"--model={folder}", f"--out={out}", "--push=me/m", "--license=mit"]) == 2
    assert "pip install" in capsys.readouterr().err and not out.exists()


def test_a_refused_upload_says_so_and_keeps_the_folder(fake, folder, tmp_path, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("401 Unauthorized")

    monkeypatch.setattr(fake, "create_repo", refuse)
    out = tmp_path / "out"
    assert export.main([f"--model={folder}", f"--out={out}", "--platforms=none", "--push=me/m", "--license=mit"]) == 2
    assert "--push=me/m: 401 Unauthorized; log in with 'hf auth login' or set HF_TOKEN" in capsys.readouterr().err
    assert load_model(out).gan.spec.z_dim == 16
    with pytest.raises(ConfigError, match="write USER/NAME"):
        hub.push(out, "nouser")


@pytest.mark.parametrize(
    "address",
    [
        "hf://me/faces@../../x",
        "hf://me/faces@a/../b",
        "hf://../faces",
        "hf://me/..",
        "hf://me/faces@/x",
        "hf://me/x@-y",
    ],
)
def test_addresses_cannot_lead_out_of_the_hub(address):
    with pytest.raises(ConfigError, match="write hf://USER/NAME"):
        load_model(address)
    with pytest.raises(ConfigError, match=r"write (hf://)?USER/NAME"):
        hub.check_name(address.removeprefix("hf://"))
