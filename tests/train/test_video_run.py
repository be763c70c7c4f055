"""A whole run on videos: stop and resume bit for bit, frames counted, previews that move, wrong data at the start."""

from __future__ import annotations

import io
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from configs import stylegan_v_quickstart
from stylegan_jax.config import ConfigError, from_dict
from stylegan_jax.data import DataError
from stylegan_jax.train.loop import train

LENGTH, VIDEOS = 9, 5


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "set.zip"
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for v in range(VIDEOS):
            for t in range(LENGTH):
                out = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(out, "PNG")
                archive.writestr(f"{v}/{t}.png", out.getvalue())
    return path


def make_config(path, cache, **changes):
    c = stylegan_v_quickstart.get_config()
    c.data.path = str(path)
    c.model.resolution, c.model.channel_base, c.model.channel_max = 16, 64, 4
    c.model.z_dim = c.model.w_dim = 8
    v = c.model.stylegan_v
    v.max_num_frames, v.max_dist, v.motion_z_dim, v.motion_v_dim, v.motion_kernel, v.time_dim = 9, 8, 4, 4, 2, 3
    c.loss.d_reg_interval = 2
    c.train.batch_size, c.train.total_kimg, c.train.num_devices = 4, 0.048, 1
    c.train.compilation_cache = str(cache)
    c.log.tick_kimg, c.log.checkpoint_ticks, c.log.grid_ticks = 0.024, 1, 1
    c.log.grid_columns, c.log.grid_rows, c.log.trackers = 2, 2, ()
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return from_dict(c)


def test_a_run_on_videos_resumes_bit_for_bit_counts_frames_and_draws_clips(videos, tmp_path):
    config = make_config(videos, tmp_path / "cache")
    straight = jax.device_get(train(config, tmp_path / "straight"))
    assert (int(straight.step), int(straight.nimg)) == (4, 48), "4 steps of 4 clips of 3 frames"
    train(make_config(videos, tmp_path / "cache", train__total_kimg=0.024), tmp_path / "stopped")
    resumed = jax.device_get(train(config, tmp_path / "stopped"))
    jax.tree.map(np.testing.assert_array_equal, resumed, straight)
    grids = tmp_path / "straight" / "grids"
    with Image.open(grids / "fakes_000000048.webp") as clip:
        assert clip.n_frames == 16 and clip.size == (32, 32)
        shown = []
        for t in (0, 8):
            clip.seek(t)
            shown.append(np.asarray(clip.convert("RGB"), int))
    assert np.abs(shown[0] - shown[1]).max() > 0, "the preview stands still"
    with Image.open(grids / "fakes_000000048.png") as strip:
        assert strip.size == (16 * 16, 2 * 16), "two clips, a row of frames each"


def test_videos_that_do_not_fit_raise_an_error_before_anything_is_compiled(videos, tmp_path):
    with pytest.raises(DataError, match=r"5 of 5 videos have too few frames: 0 \(9\), .* of at least 11"):
        train(make_config(videos, tmp_path / "cache", model__stylegan_v__frames=11, **LONG), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"trained on clips; use --config\.data\.source=video"):
        make_config(videos, tmp_path / "cache", data__source="zip")
    with pytest.raises(ConfigError, match=r"data\.source is 'video', but arch 'stylegan2'"):
        make_config(videos, tmp_path / "cache", model__arch="stylegan2")


LONG = {"model__stylegan_v__max_num_frames": 20, "model__stylegan_v__max_dist": 10}
LONG |= {"model__stylegan_v__total_dists": (10,)}
