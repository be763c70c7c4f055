"""What a run tells: stats.jsonl over a crash, the progress line, TensorBoard, grids and pixels."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.base import images
from stylegan_jax.runtime import records
from stylegan_jax.train import report
from stylegan_jax.train.gan.task import SHORT


def lines(*steps: int) -> bytes:
    return b"".join(json.dumps({"step": s, "loss": 0.5}).encode() + b"\n" for s in steps)


def steps_in(path) -> list[int]:
    return [json.loads(row)["step"] for row in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("before", "restored", "kept"),
    [
        (None, 0, []),
        (b"", 0, []),
        (lines(8, 16, 24), 24, [8, 16, 24]),
        (lines(8, 16, 24, 32), 16, [8, 16]),
        (lines(8, 16), 0, []),
        (lines(8, 16) + b'{"step": 24, "lo', 24, [8, 16]),
        (lines(8, 16) + lines(24)[:-1], 24, [8, 16]),
        (lines(8, 16) + b"\0\0\0\n" + lines(24), 24, [8, 16, 24]),  # the damage of one row costs one row
        (b"\xff[\n" + lines(8, 16), 24, [8, 16]),
        (lines(8) + b'{"loss": 1}\n', 24, [8]),
    ],
)
def test_stats_are_cut_to_the_restored_step_and_go_on(tmp_path, before, restored, kept):
    path = tmp_path / "stats.jsonl"
    if before is not None:
        path.write_bytes(before)
    stats = records.StatsFile(path, restored)
    assert steps_in(path) == kept
    for step in (restored + 8, restored + 16):
        stats.write({"step": step})
        assert steps_in(path)[-1] == step  # on disk at once, a whole line
    stats.close()
    assert steps_in(path) == [*kept, restored + 8, restored + 16]
    assert [p.name for p in tmp_path.iterdir()] == ["stats.jsonl"]


AGE = """
import time
began = time.monotonic()
from stylegan_jax.train import report
print(0 <= report.seconds_since_start() <= time.monotonic() - began)
"""


def test_the_time_to_the_first_step_leaves_out_what_the_shell_did_before():
    """A shell becomes its last command, which is then as old as the shell: `pip install … && stylegan-jax train …`."""
    words = ["sh", "-c", 'sleep 0.2; exec "$0" -c "$1"', sys.executable, AGE]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.split() == ["True"], done.stderr


def test_a_second_restart_doubles_nothing(tmp_path):
    path = tmp_path / "stats.jsonl"
    for restored in (0, 8, 8, 16):
        stats = records.StatsFile(path, restored)
        for step in (restored + 8, restored + 16):
            stats.write({"step": step})
        stats.close()
    assert steps_in(path) == [8, 16, 24, 32]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (7.4, "7s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (306, "5m 06s"),
        (3600, "1h 00m"),
        (3 * 3600 + 4 * 60 + 59, "3h 04m"),
        (86400 + 2 * 3600, "1d 02h"),
        (30 * 86400 + 23 * 3600 + 59 * 60, "30d 23h"),
    ],
)
def test_duration(seconds, text):
    assert records.duration(seconds) == text


TIMING = {"img_per_sec": 12.34, "sec_per_kimg": 81.0, "elapsed_sec": 1.0, "eta_sec": 306.0}
TERMS = {
    "loss/g_adversarial": 0.75,
    "loss/d_adversarial": 1.5,
    "loss/g_path_length": 0.125,
    "loss/d_penalty": 0.25,
    "signs/real": -0.5,
    "other": 9.875,
}


def test_progress_line():
    line = report.progress_line(3, 12_340, TIMING, {"host_peak_gib": 1.25}, TERMS, SHORT)
    assert "\n" not in line
    expected = {
        "tick": "3",
        "kimg": "12.34",
        "img/s": "12.3",
        "s/kimg": "81.0",
        "mem": "1.25G",
        "G": "0.750",
        "D": "1.500",
        "pl": "0.125",
        "penalty": "0.250",
        "sign": "-0.500",
    }
    words = line.split()
    assert {name: words[words.index(name) + 1] for name in expected} == expected
    assert "eta 5m 06s" in line
    assert "9.875" not in line


def test_progress_line_prefers_the_memory_of_the_device_and_needs_no_losses():
    line = report.progress_line(0, 0, TIMING, {"host_peak_gib": 1.25, "device_peak_gib": 7.5}, {}, SHORT)
    assert "mem 7.50G" in line


def test_without_its_package_tensorboard_warns_once_and_never_raises(tmp_path, monkeypatch, caplog):
    for name in ("tensorboard", "tensorboard.compat.proto", "tensorboard.compat.proto.event_pb2"):
        monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level(logging.WARNING):
        board = report.TensorBoard(tmp_path / "tensorboard")
        board.start()
        board.scalars(1, {"a": 1.0})  # the import may or may not have failed by now
        board._thread.join()
        board.scalars(2, {"a": 2.0})
        board.images(2, {"grid": np.zeros((1, 2, 2, 3), np.uint8)})
        board.close()
        board.close()
    warnings = [r.getMessage() for r in caplog.records if r.name == report.__name__]
    assert len(warnings) == 1
    assert "no TensorBoard events" in warnings[0] and "pip install tensorboard" in warnings[0]
    assert "config.log.trackers" in warnings[0] and "ensor" + "flow" not in warnings[0].lower()
    assert not (tmp_path / "tensorboard").exists()


def event(step: int, text: bytes = b"x") -> bytes:
    """Return a record of an event file: checksums are not looked at."""
    body = b"\x09" + bytes(8) + (b"\x10" + encoded(step) if step else b"") + b"\x1a" + bytes([len(text)]) + text
    return len(body).to_bytes(8, "little") + b"sums" + body + b"sums"


def encoded(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + encoded(number >> 7)


class Writer:
    """As clu's: a new file per start."""

    def __init__(self, folder: str):
        Path(folder).mkdir(exist_ok=True)
        count = len(list(Path(folder).iterdir()))
        self.path = Path(folder) / f"events.out.tfevents.{count}"
        self.path.write_bytes(event(0, b"brain.Event:2"))

    def write_scalars(self, step, values):
        self.path.write_bytes(self.path.read_bytes() + event(step))

    def flush(self):
        pass

    close = flush


@pytest.mark.parametrize("restored", [None, 195])
@pytest.mark.parametrize("torn", [b"", event(9)[:7], event(9)[:-3]])
def test_a_killed_and_resumed_run_shows_each_step_once_in_tensorboard(tmp_path, monkeypatch, restored, torn):
    monkeypatch.setattr(report.TensorBoard, "_import", lambda self: setattr(self, "_make", Writer))
    first = report.TensorBoard(tmp_path / "t")
    first.start()
    for step in range(191, 201):
        first.scalars(step, {"a": 1.0})
    first._drain()
    path = next((tmp_path / "t").iterdir())
    path.write_bytes(path.read_bytes() + torn)
    resumed = report.TensorBoard(tmp_path / "t", restored)
    resumed.start()
    for step in range(196, 203):
        resumed.scalars(step, {"a": 1.0})
    resumed.close()
    start, *found = (p.read_bytes() for p in sorted((tmp_path / "t").iterdir()))
    assert start == event(0, b"brain.Event:2") + b"".join(map(event, range(191, 196)))
    assert found == [event(0, b"brain.Event:2") + b"".join(map(event, range(196, 203)))]


EVENTS = """
import sys
for name in ("tensorflow", "clu"):
    sys.modules[name] = None
import pathlib
import numpy as np
from stylegan_jax.train import report
board = report.TensorBoard(pathlib.Path(sys.argv[1]))
board.start()
board.scalars(3, {"loss/g": 0.5, "bad": float("nan")})
board.images(4, {"fakes": np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)})
board.close()
"""


def test_tensorboards_events_are_written_without_tensorflow(tmp_path):
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer import record_writer

    done = subprocess.run([sys.executable, "-c", EVENTS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    data, events, at = next(tmp_path.iterdir()).read_bytes(), [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        body = data[at + 12 : at + 12 + size]
        record_writer.RecordWriter(peer := io.BytesIO()).write(body)  # TensorBoard's own frame, with its checksums
        assert peer.getvalue() == data[at : at + size + 16]
        events.append(event_pb2.Event.FromString(body))
        at += size + 16
    start, scalars, pictures = events
    assert start.file_version == "brain.Event:2" and (scalars.step, pictures.step) == (3, 4)
    values = {value.tag: value.simple_value for value in scalars.summary.value}
    assert values["loss/g"] == 0.5 and np.isnan(values["bad"])
    (value,) = pictures.summary.value
    assert (value.tag, value.image.height, value.image.width) == ("fakes", 2, 4)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image).ravel(), np.arange(24))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_save_grid_writes_a_png(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, channels), dtype=np.uint8)
    grid = report.save_grid(tmp_path / "grids", "fakes", pixels, columns=3)
    assert grid.shape == (1, 8, 18, channels)
    assert [p.name for p in (tmp_path / "grids").iterdir()] == ["fakes.png"]
    with Image.open(tmp_path / "grids" / "fakes.png") as image:
        assert image.size == (18, 8)  # width, height
        read = np.asarray(image).reshape(8, 18, channels)
    np.testing.assert_array_equal(read, grid[0])
    np.testing.assert_array_equal(read[4:, 6:12], pixels[4])  # second row, second column
    assert not read[4:, 12:].any()  # the missing sixth


def test_pixels_are_truncated_not_rounded():
    # x * 127.5 + 128: -1 gives 0.5, 1 gives 255.5 (clamped), 1/255 gives 128.5
    values = np.array([-1, 1, 0, -2, 2, 1 / 255 - 1e-4, -1e-4], np.float32)
    pixels = images.to_pixels(values)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [0, 255, 128, 0, 255, 128, 127]


def test_the_clock_tells_the_share_of_time_spent_waiting_for_data(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 8.0, 9.0, 10.0])
    monkeypatch.setattr(report.time, "monotonic", lambda: next(now))
    clock = report.Clock(0, 100)
    with clock.waiting():
        pass
    first = clock.tick(16)
    assert first["data_wait"] == pytest.approx(2 / 8) and first["img_per_sec"] == pytest.approx(2)
    assert clock.tick(20)["data_wait"] == 0
