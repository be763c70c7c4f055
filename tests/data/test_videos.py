"""Videos: what is one in a folder or zip, clips by position alone, labels, subsets, caches, errors."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from stylegan_jax.config import ClipRule, ConfigError
from stylegan_jax.data import DataError, clips, open_batches, open_source
from stylegan_jax.data.video_source import videos_of

RULE = ClipRule(3, 1024, "random", 32, (1, 2, 4, 8, 16, 32), True)
LENGTHS = {"a": 5, "a-2": 12, "a b": 3}
SHAPE = (8, 8, 3)
FLUENT = Path(__file__).parents[2] / "datasets" / "fluent64.zip"


def frames(encode, lengths=LENGTHS, root="set/", size=8):
    """Return {name: bytes} of frames whose colour is (video, frame, 0), with numbers that are not padded."""
    out = {}
    for v, (video, length) in enumerate(lengths.items()):
        for t in range(length):
            pixels = np.zeros((size, size, 3), np.uint8)
            pixels[..., 0], pixels[..., 1] = v, t
            pixels[:, 0, 2] = 255  # the left column, to see what is mirrored
            out[f"{root}{video}/f{t}.png"] = encode(pixels)
    return out


@pytest.fixture(scope="module")
def opened(tmp_path_factory, config, encode, write):
    """Return a function that opens the three videos as a zip or a folder."""
    made = {}

    def open_as(kind, rule=RULE, **changes):
        root = tmp_path_factory.mktemp(kind)
        if kind not in made:
            labels = {"labels": [["a/f0.png", 1], ["a-2/f3.png", 0], ["a-2/f4.png", 0], ["a b/f2.png", 2]]}
            members = frames(encode) | {"set/dataset.json": json.dumps(labels).encode()}
            made[kind] = write(root, kind, members)
        return open_source(config(source="video", path=made[kind], **changes), SHAPE)

    return open_as


def test_folders_that_hold_frames_are_videos_in_zips_without_entries_and_in_folders(opened):
    for kind in ("zip", "folder"):
        with contextlib.closing(opened(kind)) as source:
            videos = videos_of(source, RULE, "error")
            assert videos.names == ("set/a", "set/a b", "set/a-2") and list(videos.lengths) == [5, 3, 12]
            for v, length in enumerate(videos.lengths):
                shown = source.gather(videos.images(np.array([v]), np.arange(length)[None])[0])
                assert list(shown[:, 0, 0, 1]) == list(range(length)), "2 comes before 10"
            assert source.info().num_images == 20 and source.info().notes[0] == "3 videos of 3 to 12 frames"


def take(source, data, count=4, start=0, **more):
    with open_batches(source, data, SHAPE, batch_size=4, seed=5, start=start, rule=RULE, **more) as batches:
        return list(itertools.islice(batches, count))


def test_a_clip_is_of_one_video_and_shows_the_frames_of_its_times(opened, config):
    data = config(xflip=True)
    with contextlib.closing(opened("zip")) as source:
        made = take(source, data, 30)
    seen = set()
    for batch in made:
        image, times = batch.sample["image"], batch.sample["times"]
        assert image.shape == (4, 3, *SHAPE) and image.dtype == np.uint8 and times.dtype == np.float32
        np.testing.assert_array_equal(image[:, :, 0, 4, 1], times)
        assert np.all(image[:, :, 0, 4, 0] == image[:, :1, 0, 4, 0])
        mirrored = image[:, :, 0, 7, 2] == 255
        assert np.all(mirrored == mirrored[:, :1]), "all frames of a clip are mirrored alike"
        seen |= set(zip(image[:, 0, 0, 4, 0].tolist(), mirrored[:, 0].tolist(), strict=True))
        fakes = batch.given["times"]
        assert fakes.shape == (4, 4, 3) and np.all(fakes >= 0) and np.any(fakes != np.round(fakes))
        gaps = np.diff(fakes, axis=-1)
        assert np.all(np.abs(gaps - np.round(gaps)) < 1e-5)
    assert seen == set(itertools.product(range(3), (False, True)))
    epoch = np.concatenate([b.sample["image"][:, 0, 0, 4, 0] for b in made[:3]])  # six copies of three videos, twice
    assert list(np.bincount(epoch)) == [4, 4, 4]


def test_batches_are_the_same_whichever_way_they_are_made_and_wherever_a_run_begins(opened, config):
    want = None
    for cache in ("host", "off", "device"):
        data = config(cache=cache, xflip=True)
        with contextlib.closing(opened("zip", cache=cache)) as source:
            made = take(source, data)
            later = take(source, data, 2, start=8)
            halves = [take(source, data, 2, shard_index=i, shard_count=2) for i in (0, 1)]
        want = want or made
        for a, b in zip(made, want, strict=True):
            np.testing.assert_array_equal(a.sample["image"], b.sample["image"])
            np.testing.assert_array_equal(a.sample["times"], b.sample["times"])
            np.testing.assert_array_equal(a.given["times"], b.given["times"])
        for a, b in zip(later, want[2:], strict=True):
            np.testing.assert_array_equal(a.sample["image"], b.sample["image"])
        for a, b, whole in zip(*halves, want[:2], strict=True):
            joined = np.concatenate([a.sample["image"], b.sample["image"]])
            np.testing.assert_array_equal(joined, whole.sample["image"])
            np.testing.assert_array_equal(
                np.concatenate([a.given["times"], b.given["times"]], axis=1), whole.given["times"]
            )


def test_a_label_belongs_to_a_video_and_one_of_its_frames_is_enough(opened, config, tmp_path, encode, write):
    with contextlib.closing(opened("zip", labels="file")) as source:
        assert source.info().label_dim == 3
        for batch in take(source, config(labels="file"), 3):
            np.testing.assert_array_equal(batch.label, np.array([1, 0, 2])[batch.sample["image"][:, 0, 0, 4, 0]])
            lengths = np.array([5 if k == 1 else 12 if k == 0 else 3 for k in batch.gen_label.reshape(-1)])
            assert np.all(batch.given["times"].reshape(-1, 3)[:, -1] <= lengths - 1)
    different = {"labels": [["a/f0.png", 1], ["a/f1.png", 0], ["a-2/f3.png", 0], ["a b/f2.png", 2]]}
    path = write(tmp_path, "zip", frames(encode, root=""), labels=different)
    with pytest.raises(DataError, match=r"a/f0.png has the label 1 and a/f1.png, of the same video, 0"):
        open_source(config(source="video", path=path, labels="file"), SHAPE)


def test_classes_are_the_folders_that_hold_videos(tmp_path, config, encode, write):
    path = write(tmp_path, "folder", frames(encode, {"cat/1": 3, "cat/2": 3, "dog/1": 4}, root="all/"))
    with contextlib.closing(open_source(config(source="video", path=path, labels="subfolders"), SHAPE)) as source:
        videos = videos_of(source, RULE, "error")
        assert list(source.label_rows(videos.heads)) == [0, 0, 1]
        assert source.info().label_names == ("cat", "dog")


def test_videos_lie_at_any_depth_also_beside_folders_of_videos(tmp_path, config, encode, write):
    members = frames(encode, {"": 3, "x": 4, "x/y": 5, "z/a/b": 6}, root="")
    members = {name.lstrip("/"): data for name, data in members.items()}
    for kind in ("zip", "folder"):
        path = write(tmp_path, kind, members)
        with contextlib.closing(open_source(config(source="video", path=path), SHAPE)) as source:
            videos = videos_of(source, RULE, "error")
            assert videos.names == ("", "x", "x/y", "z/a/b") and list(videos.lengths) == [3, 4, 5, 6]
            shown = source.gather(videos.images(np.arange(4), np.array([[2]] * 4))[:, 0])[:, 0, 4]
            assert shown[:, :2].tolist() == [[0, 2], [1, 2], [2, 2], [3, 2]]


def test_a_frame_that_cannot_be_decoded_takes_its_video_with_it_in_every_cache(tmp_path, config, encode, write):
    members = frames(encode)
    data = bytearray(members["set/a/f3.png"])
    data[-20] ^= 1  # a checksum, which is not compared at the start
    path = write(tmp_path, "folder", members | {"set/a/f3.png": bytes(data)})
    with pytest.raises(DataError, match=r"set/a/f3.png: damaged PNG: a checksum is wrong"):
        open_source(config(source="video", path=path, cache="host"), SHAPE)
    for cache in ("host", "device"):
        settings = config(source="video", path=path, cache=cache, on_bad_image="skip")
        with contextlib.closing(open_source(settings, SHAPE)) as source:
            assert videos_of(source, RULE, "skip").names == ("set/a b", "set/a-2")
            colours = {int(v) for batch in take(source, settings, 8) for v in batch.sample["image"][:, 0, 0, 4, 0]}
            assert colours == {1, 2}


def test_a_subset_counts_videos(opened):
    with contextlib.closing(opened("zip", subset=2, cache="off")) as source:
        videos = videos_of(source, RULE, "error")
        assert len(videos.names) == 2 and source.info().num_images == videos.lengths.sum()
        colours = source.gather(videos.images(np.array([0, 1]), np.zeros((2, 1), int))[:, 0])[:, 0, 4]
        assert list(colours[:, 1]) == [0, 0] and len(set(colours[:, 0])) == 2
    with pytest.raises(DataError, match=r"config\.data\.subset is 4; set has 3 videos"):
        opened("zip", subset=4)


def test_videos_that_are_too_short_are_named_with_the_minimum_or_left_out(opened, config):
    rule = RULE._replace(frames=4)
    with contextlib.closing(opened("zip")) as source:
        words = r"1 of 3 videos have too few frames: set/a b \(3\); a clip of 4 frames needs a video of at least 5"
        with pytest.raises(DataError, match=words):
            open_batches(source, config(), SHAPE, batch_size=4, seed=0, rule=rule)
        assert videos_of(source, rule, "skip").names == ("set/a", "set/a-2")
        with pytest.raises(DataError, match="3 of 3 videos have too few frames"):
            videos_of(source, rule._replace(frames=13, max_dist=40), "skip")


def test_a_video_with_a_bad_frame_is_named_or_left_out_whole(tmp_path, config, encode, write):
    members = frames(encode) | {"set/a/f3.png": encode(np.zeros((16, 16, 3), np.uint8))}
    path = write(tmp_path, "zip", members)
    with pytest.raises(DataError, match=r"set/a/f3.png: 16x16 pixels, not 8x8"):
        open_source(config(source="video", path=path), SHAPE)
    with contextlib.closing(open_source(config(source="video", path=path, on_bad_image="skip"), SHAPE)) as source:
        assert videos_of(source, RULE, "skip").names == ("set/a b", "set/a-2")


def test_images_are_no_videos(tmp_path, config, encode, write):
    path = write(tmp_path, "zip", frames(encode))
    source = open_source(config(source="zip", path=path), SHAPE)
    with (
        contextlib.closing(source),
        pytest.raises(DataError, match=r"trained on clips; use config\.data\.source='video'"),
    ):
        open_batches(source, config(), SHAPE, batch_size=4, seed=0, rule=RULE)
    with pytest.raises((DataError, ConfigError)):
        open_source(config(source="video", path=str(tmp_path / "nothing.zip")), SHAPE)


def test_of_a_long_video_a_window_is_taken_and_times_are_relative_to_it():
    rule = RULE._replace(max_num_frames=10, max_dist=8)
    u = np.random.default_rng(0).random((500, 4))
    made = [clips.real_clip(rule, 30, row) for row in u]
    offsets = {int(f[0] - t[0]) for f, t in made}
    assert offsets == set(range(21)) and max(t[-1] for _, t in made) == 9 and max(f[-1] for f, _ in made) == 29


def test_the_bundled_videos():
    from stylegan_jax.config import DataConfig

    data = DataConfig(source="video", path=str(FLUENT), labels="file", cache="off")
    with contextlib.closing(open_source(data, (64, 64, 3))) as source:
        info, videos = source.info(), videos_of(source, RULE, "error")
        assert (info.num_images, info.label_dim, len(videos.names)) == (7200, 2, 200)
        assert set(videos.lengths) == {36} and list(np.bincount(source.label_rows(videos.heads))) == [104, 96]
        assert info.label_names == ("Smileys & Emotion", "Animals & Nature")
