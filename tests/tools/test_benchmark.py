"""The benchmark tool: one run on a small recipe, its figures against independent ones, and its errors."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
import toy
from PIL import Image

from configs import stylegan_v_quickstart, tiny
from stylegan_jax import models
from stylegan_jax.config import ConfigError, from_dict, levels
from stylegan_jax.runtime.mesh import make_layout
from stylegan_jax.tools.benchmark import data, machine, measure, peaks, programs, report, run, timing
from stylegan_jax.tools.benchmark.__main__ import main
from stylegan_jax.train import schedule
from stylegan_jax.train.gan import task as gan_task
from stylegan_jax.train.programs import FINISH
from stylegan_jax.train.tasks import make_task

ROOT = Path(__file__).resolve().parents[2]
RECIPE = f"--config={ROOT / 'configs' / 'tiny.py'}"
BATCH, RES, WIDTH, W = 8, 8, 32, 16  # channels at both resolutions; latent, style and mapping size
WIDE = (f"--config.model.channel_max={WIDTH}", "--config.model.channel_base=512")
# ml_collections loads a recipe in the old way.
pytestmark = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
TRAINING = ("g_main", "g_reg", "d_main", "d_reg", FINISH)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run the whole tool once, with short timings; return (record, printed table)."""
    path = tmp_path_factory.mktemp("benchmark") / "record.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "ENOUGH_SECONDS", 0.02)
        patch.setattr(peaks, "SIZES", (256,))
        patch.setattr(peaks, "COPY_BYTES", 2**22)
        patch.setattr(data, "LEAST_SECONDS", 0.05)
        printed = []
        patch.setattr("builtins.print", lambda *args, **_: printed.append(" ".join(map(str, args))))
        arguments = [RECIPE, *WIDE, "--device=cpu:0", "--batch=4", "--noise=random", "--steps=8", "--repeats=2"]
        assert main([*arguments, "--what=train,sample,data,compile", f"--json={path}"]) == 0, printed
    return json.loads(path.read_text()), printed[-1]


def conv(res: int, c_in: int, c_out: int, taps: int = 9) -> float:
    """Return the FLOPs of a convolution per image."""
    return 2 * res * res * taps * c_in * c_out


# A convolution that changes the size works on blocks of 2x2 pixels (design decision 8): 4x4 taps at the small size.
GENERATOR = (
    2 * W * W  # mapping
    + 2 * W * (5 * WIDTH)  # styles of three convolutions and two ToRGB
    + conv(4, WIDTH, WIDTH)
    + conv(4, WIDTH, 3, taps=1)
    + conv(4, WIDTH, WIDTH, taps=16)
    + conv(8, WIDTH, WIDTH)
    + conv(8, WIDTH, 3, taps=1)
)
DISCRIMINATOR = (
    conv(8, 3, WIDTH, taps=1)
    + conv(4, WIDTH, WIDTH, taps=1)
    + conv(8, WIDTH, WIDTH)
    + conv(4, WIDTH, WIDTH, taps=16)
    + conv(4, WIDTH + 1, WIDTH)
    + 2 * 16 * WIDTH * WIDTH
    + 2 * WIDTH
)
# A gradient costs a forward pass for the inputs and one for the weights; where only the input's is asked for, one.
FLOPS = {
    "sample_4": 4 * GENERATOR,
    "g_main": BATCH * (3 * GENERATOR + 2 * DISCRIMINATOR),
    "d_main": BATCH * (GENERATOR + 2 * 3 * DISCRIMINATOR),
}


def test_flops_are_those_of_the_layers(done):
    for name, wanted in FLOPS.items():
        cost = done[0]["programs"][name]
        assert cost["flops"] == pytest.approx(wanted, rel=0.25), name
        assert cost["flops_compiled"] == pytest.approx(cost["flops"], rel=0.25), name


def test_every_program_has_every_figure(done):
    record, _ = done
    assert list(record["programs"]) == [*TRAINING, "sample_4"]
    for name, cost in record["programs"].items():
        assert cost["kind"] == ("sample" if name == "sample_4" else "train")
        assert cost["images"] == (4 if name == "sample_4" else BATCH)
        assert cost["compile_cold"] is True
        for key in ("trace_lower_seconds", "compile_seconds", "flops", "flops_compiled", "bytes_accessed"):
            assert cost[key] > 0, (name, key)
        assert 0 < cost["ms"]["min"] <= cost["ms"]["median"] <= cost["ms"]["max"]
        assert cost["calls_per_repeat"] >= 1
        assert cost["img_per_sec"] == pytest.approx(cost["images"] / cost["ms"]["median"] * 1000)
        memory = cost["memory"]
        assert memory["peak"] == memory["argument"] + memory["output"] - memory["alias"] + memory["temp"]
        assert memory["temp"] > 0 or name == FINISH
        assert cost["memory_estimate"] > memory["argument"] * 0.9
        rate = cost["flops"] / cost["ms"]["median"] * 1000
        assert cost["fraction_of_matmul"] == pytest.approx(rate / record["peaks"]["matmul_flops"])
        assert cost["fraction_of_copy"] > 0
    g, d = (4 * record["parameters"][name] for name in ("generator", "discriminator"))
    assert record["programs"]["sample_4"]["memory"]["argument"] == pytest.approx(g, rel=0.05)
    for name in TRAINING:
        memory = record["programs"][name]["memory"]
        assert memory["argument"] == pytest.approx(4 * g + 3 * d, rel=0.05)  # with G's average and Adam's moments
        assert memory["alias"] > 0.9 * memory["output"]  # the state is donated


def test_training_rate_is_the_cadence_of_the_programs(done):
    record, _ = done
    ms = {name: record["programs"][name]["ms"]["median"] for name in TRAINING}
    seconds = (ms["g_main"] + ms["g_reg"] / 4 + ms["d_main"] + ms["d_reg"] / 16 + ms[FINISH]) / 1000
    assert record["train"]["img_per_sec_cadence"] == pytest.approx(BATCH / seconds)
    assert record["train"]["loop_steps"] == 16  # 8 asked for; one cycle of the regularisers is 16
    loop = record["train"]["img_per_sec_loop"]
    assert 0 < loop["min"] <= loop["median"] <= loop["max"]


def test_data_of_every_cache(done):
    rows = {row["cache"]: row for row in done[0]["data"]}
    assert {cache: row["way"] for cache, row in rows.items()} == {
        "off": "image by image",
        "host": "gather in host memory",
        "device": "gather on the device",
    }
    for row in rows.values():
        assert row["img_per_sec"]["min"] > 0 and row["num_images"] == 64
        assert row["megabytes"] == pytest.approx(64 * RES * RES * 3 / 2**20)


def test_record_says_where_and_what(done):
    record, _ = done
    assert record["machine"]["platform"] == "cpu" and record["machine"]["devices"] == 1
    assert record["machine"]["versions"]["jax"] == jax.__version__
    assert set(record["machine"]["versions"]) == {"stylegan_jax", "python", "jax", "jaxlib", "flax", "numpy"}
    assert record["machine"]["memory_free_bytes"] > 2**20 and record["machine"]["cores"] >= 1
    assert record["config_diff"]["model.channel_max"] == [512, WIDTH]
    assert record["config_diff"]["model.resolution"] == [256, RES]
    assert "model.g_arch" not in record["config_diff"] and "model.base_size" not in record["config_diff"]
    assert record["other_work"] is None or 0 <= record["other_work"] <= 1
    assert record["config"]["train"]["batch_size"] == BATCH
    assert (record["noise"], record["compute_dtype"], record["repeats"]) == ("random", "float32", 2)
    assert record["peaks"]["matmul_size"] == 256 and record["peaks"]["copy_bytes"] > 0


def test_table_shows_the_record(done):
    record, text = done
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    for name, cost in record["programs"].items():
        assert rows[name][1] == str(cost["images"])
        assert float(rows[name][3]) == pytest.approx(cost["compile_seconds"], abs=0.051)
        assert float(rows[name][4].replace(",", "")) == pytest.approx(cost["ms"]["median"], rel=0.01, abs=0.51)
    assert f"generator {record['parameters']['generator']:,d}" in text
    assert f"g_main + g_reg/4 + d_main + d_reg/16 + {FINISH}" in text
    assert "sampling, batch 4:" in text and "noise random" in text
    assert "data, cache device (gather on the device):" in text
    record = json.loads(json.dumps(record))
    record["other_work"] = 0.4
    record["data"] = [{"cache": "host", "skipped": "too large"}]
    assert "the machine was busy: other work took 40 %" in report.table(record)
    record["other_work"] = None
    assert "busy" not in report.table(record)
    assert "data, cache host: not measured: too large" in report.table(record)


def measurement(
    what: tuple[str, ...], batches: tuple[int, ...] = (), count: int = 1, chosen: tuple[str, ...] = (), **model
):
    c = tiny.get_config()
    c.model.update(model)
    options = run.Options(what, batches=batches, programs=chosen)
    return measure.Measurement(from_dict(c), options, make_layout(count), lambda text: None)


def test_what_chooses_the_programs():
    assert list(measurement(("train",)).jobs) == list(TRAINING)
    assert list(measurement(("sample", "compile"), (2, 3)).jobs) == ["sample_2", "sample_3"]
    assert list(measurement(("compile",)).jobs) == [*TRAINING, "sample_8"]
    with pytest.raises(ConfigError, match="--batch=3 must be a multiple of the 2 devices"):
        measurement(("sample",), (3,), count=2)


def test_chosen_programs_are_timed_without_rates(monkeypatch):
    both = measurement(("train", "sample"), (2,), chosen=("sample_2", "d_main"))
    assert list(both.jobs) == ["d_main", "sample_2"] and both.kinds == {"train", "sample"}
    bench, timed = measurement(("train", "sample"), chosen=(FINISH,)), []
    assert list(bench.jobs) == [FINISH] and bench.kinds == {"train"}
    monkeypatch.setattr(measure.training, "create_state", lambda *_: None)
    monkeypatch.setattr(bench, "_time", lambda calls, state: timed.append((list(calls), state)))
    monkeypatch.setattr(bench, "task", SimpleNamespace(plan=bench.task.plan, export=lambda state: {}))
    assert bench._train() == ({}, {}) and timed == [([FINISH], None)]


@pytest.mark.parametrize("name", ["projected", "clips"])
def test_frozen_networks_and_all_inputs_reach_the_programs(monkeypatch, name):
    monkeypatch.setattr(models, "build", lambda _: toy.TOYS[name])
    monkeypatch.setattr(gan_task, "_load", lambda _: toy.load_backbone())
    m = measurement(("sample",), (2,), label_dim=toy.TOYS[name].spec.label_dim)
    assert list(m.jobs["sample_2"].arguments[1]) == list(toy.TOYS[name].spec.inputs)
    m.jobs["sample_2"].jitted.trace(*m.jobs["sample_2"].arguments)
    made = programs.new_generator(m.gan, m.layout, m.key, m.frozen)
    assert jax.tree.structure(made) == jax.tree.structure(m.jobs["sample_2"].arguments[0])


def test_sampling_gets_only_what_its_program_was_compiled_for(monkeypatch):
    bench, given = measurement(("sample",), (8,)), []
    bench.compiled = {"sample_8": lambda model, *_: given.append(set(model))}
    monkeypatch.setattr(bench, "_time", lambda calls, state: [call(state) for call in calls.values()])
    (own,) = [set(job.arguments[0]) for job in bench.jobs.values()]
    bench._sample(dict.fromkeys([*own, "of a trained state"], 0.0))
    assert given == [own]


def test_too_large_is_refused_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(programs, "compile_one", lambda *_: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match=r"sample_8 needs about 0\.00 GiB .*estimated before compiling.*--force"):
        measurement(("sample",)).go()
    measurement(("compile",))._refuse_large({"a": 2**50}, "here")  # what is only compiled is only warned of
    said = []
    programs.refuse_large({"a": 2 * 2**30, "b": 1}, 2**30, "here", True, said.append)
    assert said[0].startswith("warning: a needs about 2.00 GiB on each device (here); 1.00 GiB are free")
    programs.refuse_large({"a": 2**30}, 2**30, "here", False, said.append)
    programs.refuse_large({"a": 2**40}, None, "here", False, said.append)  # the device does not tell
    assert len(said) == 1


def intervals(**loss):
    """Return (after how many iterations each program runs again, the phases) of the small recipe."""
    c = tiny.get_config()
    c.loss.update(loss)
    c.model.label_dim = 0
    config, layout = from_dict(c), make_layout(1)
    task = make_task(config, layout)
    jobs = programs.training_jobs(task, config, layout, {})
    phases = task.plan(levels(config)[-1]).phases
    return {name: round(1 / job.per_step) for name, job in jobs.items()}, phases


def test_a_loop_is_whole_cycles():
    every, _ = intervals()
    assert every == {"g_main": 1, "g_reg": 4, "d_main": 1, "d_reg": 16, FINISH: 1}
    assert [measure.loop_length(every, least) for least in (1, 16, 17)] == [16, 16, 32]
    assert measure.loop_length(intervals(g_reg_interval=3, d_reg="none")[0], 10) == 12
    assert measure.loop_length(intervals(pl_weight=0.0, d_reg="none")[0], 10) == 10


def test_the_loop_runs_what_training_runs():
    (every, phases), ran = intervals(), []
    call = lambda name, state: ran.append(name) or state
    calls = {name: functools.partial(call, name) for name in every}
    speeds, _ = measure.time_loop(8, every, calls, jnp.zeros([]), 32, 2)
    assert ran == 2 * [name for step in range(32) for name in [*schedule.due_phases(phases, step, 8 * step), FINISH]]
    assert len(speeds) == 2


def test_times_are_per_call_and_in_turn(monkeypatch):
    monkeypatch.setattr(timing, "ENOUGH_SECONDS", 0.03)
    order = []

    def nap(name, seconds):
        def call(state):
            order.append(name)
            time.sleep(seconds)
            return state + 1

        return call

    times, last = timing.time_in_turn({"a": nap("a", 0.01), "b": nap("b", 0.05)}, jnp.zeros([]), 2)
    (a, a_calls), (b, b_calls) = times["a"], times["b"]
    assert 1 < a_calls <= 3 and b_calls == 1 and len(a) == len(b) == 2
    assert min(a) >= 0.01 and min(b) >= 0.05  # an upper bound would fail on a busy machine
    assert order == ["a", "a", "b", "b", *(["a"] * a_calls + ["b"]) * 2]
    assert int(last) == len(order)


def test_work_of_others_is_seen(monkeypatch):
    texts = iter(["cpu  100 0 50 1000 0 0 0 0 0 0\ncpu0 1", "cpu  300 0 50 1100 50 0 0 50 0 0\ncpu0 1"])
    own = iter([1.0, 2.0])
    monkeypatch.setattr(machine, "_read", lambda path: next(texts))
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(machine.os, "times", lambda: type("Times", (), {"user": next(own), "system": 0.5}))
    # 4 s of CPU: 2 s of processes and 0.5 s stolen are not idle; 1 s is ours
    assert machine.OtherWork().fraction() == pytest.approx(1.5 / 4)
    monkeypatch.setattr(machine, "_read", lambda path: "")
    assert machine.OtherWork().fraction() is None


def test_cold_compilation_gives_the_cache_back(tmp_path):
    before = jax.config.values["jax_enable_compilation_cache"]
    with programs.no_compilation_cache():
        assert jax.config.values["jax_enable_compilation_cache"] is False
    assert jax.config.values["jax_enable_compilation_cache"] is before


def test_synthetic_arrays_have_the_shapes_and_places_asked_for():
    job = measurement(("train",), count=2, label_dim=3).jobs["g_main"]
    shapes = job.arguments[2]
    batch = programs.synthetic(shapes, jax.random.key(0))
    assert batch.pixels.shape == (8, 8, 8, 3) and batch.pixels.dtype == jnp.uint8
    assert batch.gen_label.shape == (3, 8) and batch.gen_label.dtype == jnp.int32
    assert batch.pixels.sharding == shapes.pixels.sharding and len(batch.pixels.devices()) == 2
    assert int(batch.pixels.max()) > 200 and int(batch.pixels.min()) < 50


def test_data_that_does_not_fit_the_cache_is_left_out(monkeypatch):
    monkeypatch.setattr(data, "LEAST_SECONDS", 0.0)
    c = tiny.get_config()
    c.data.cache_limit_mb = 0
    first, *rest = data.time_data(from_dict(c), make_layout(1), 1, lambda text: None)
    assert first["cache"] == "off" and first["img_per_sec"]["median"] > 0
    assert [row["cache"] for row in rest] == ["host", "device"]
    assert all("cache_limit_mb is 0" in row["skipped"] for row in rest)


def test_clips_of_videos_are_counted_as_clips_and_as_frames(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "LEAST_SECONDS", 0.0)
    for name in (f"{v}/{t}.png" for v in range(3) for t in range(5)):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(tmp_path / "set" / name)
    c = stylegan_v_quickstart.get_config()
    c.data.path = str(tmp_path / "set")
    rows = data.time_data(from_dict(c), make_layout(1), 1, lambda text: None)
    assert [row["cache"] for row in rows] == ["off", "host", "device"]
    for row in rows:
        assert row["frames"] == 3 and row["num_images"] == 15
        assert row["img_per_sec"]["median"] == pytest.approx(3 * row["clip_per_sec"]["median"])
    assert "clips/s of 3 frames" in report._data({"data": rows})[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([RECIPE, "--what=train,smaple"], "did you mean 'sample'? known: train, sample, data, compile"),
        (
            [RECIPE, "--programs=g_main,gmain", "--device=cpu:0"],
            "'gmain' is not known; did you mean 'g_main'? known: g",
        ),
        ([RECIPE, "--programs=g_main", "--what=data"], "--programs=g_main needs train, sample or compile in --what"),
        ([RECIPE, "--device=gpu"], "--device=gpu is not present; JAX has cpu (8: cpu)"),
        ([RECIPE, "--device=cpu:8"], "--device=cpu:8 is not present; JAX has cpu (8: cpu), counted from 0"),
        ([RECIPE, "--device=cpu:x"], "write cpu:0 for the first one"),
        ([RECIPE, "--device=cuda"], "known: cpu, gpu, tpu"),
        ([RECIPE, "--repeats=0"], "--repeats=0 must be at least 1"),
        ([RECIPE, "--batch=8,x"], "'x' is not a batch size"),
        ([RECIPE, "--json=/nowhere/at/all.json"], "the folder /nowhere/at does not exist"),
        ([RECIPE], "the 8 devices must divide"),  # tiny's batch, with path length, is too small for eight
        ([RECIPE, "--config.train.batch_sise=3"], "batch_size"),
        ([RECIPE, "--config.data.labels=file", "--device=cpu:0"], "set config.model.label_dim"),
        ([RECIPE, "--wat=train"], "wat"),
        (["--config=configs/tinny.py"], "there is no recipe configs/tinny.py"),
        (["--what=train"], "--config is missing"),
    ],
)
def test_mistakes_are_answered_by_one_line(arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("[")]
    assert code == 2 and not out
    assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0], err


def test_only_data_needs_a_path(monkeypatch, capsys):
    def stop(config, *rest):
        raise ConfigError(f"path {config.data.path!r}")

    monkeypatch.setattr(run, "benchmark", stop)
    monkeypatch.chdir(ROOT)
    assert main(["--config=configs/stylegan2.py:64", "--what=train"]) == 2 and "path 'none'" in capsys.readouterr().err
    assert main(["--config=configs/stylegan2.py:64", "--what=data"]) == 2
    assert "config.data.path is empty" in capsys.readouterr().err
