"""Jobs, which take longer than a picture: projecting a photograph, tuning the model to it, writing a film."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylegan_jax.base import arrays, images
from stylegan_jax.sampling import projector, tuner
from stylegan_jax.studio import commands, drags, pictures, wishes
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.sources import find_styles, read_label
from stylegan_jax.studio.worker import Job

if TYPE_CHECKING:
    from stylegan_jax.studio.studio import Studio

Work = Callable[[Job], dict[str, Any]]
ENDINGS = ("mp4", "webp", "gif")


def project(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that projects the session's picture. Noise maps are not optimised: edits use the model's."""
    target = session.target
    if target is None:
        raise wishes.BadWish("there is no picture yet; upload one first")
    steps = wishes.whole(wish, "steps", 1, 5000, 300)
    plus = wish.get("plus") is True
    label = read_label(studio.model, wish)
    net = studio.network()

    def work(job: Job) -> dict[str, Any]:
        def watch(step: int, losses: Any, draw: Callable[[], Any]) -> None:
            job.tick(step, steps, float(losses[0]), lambda: _png(draw()))

        found = projector.project(
            studio.model,
            target[None],
            label=label.values if len(label.values) else None,
            steps=steps,
            plus=plus,
            noise="const",
            net=net,
            watch=watch,
        )
        session.found, session.tuned, session.files = found, None, {}
        line = commands.project(studio.words, steps, plus, label.words)
        session.steps = {"line": line, "label": label.values}
        return {"start": float(found.start_lpips[0]), "end": float(found.lpips[0]), "of": "found"}

    return work


def encode(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that inverts the session's picture with the studio's encoder, in one pass or a few."""
    from stylegan_jax.tools.encode import as_projection

    target, encoder = session.target, studio.encoder
    if encoder is None:
        raise wishes.BadWish("this studio has no encoder; start it with --encoder=RUN, or use Find")
    if target is None:
        raise wishes.BadWish("there is no picture yet; upload one first")
    label = read_label(studio.model, wish)
    net = studio.network()

    def work(job: Job) -> dict[str, Any]:
        found = as_projection(encoder.model, target[None], encoder.encode(target[None], chunk=1), net)
        job.tick(1, 1, float(found.lpips[0]), lambda: _png(found.images))
        session.found, session.tuned, session.files = found, None, {}
        session.steps = {"line": commands.encode(studio.words, studio.encoder_path), "label": label.values}
        return {"start": float(found.start_lpips[0]), "end": float(found.lpips[0]), "of": "found"}

    return work


def tune(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that tunes the model to the session's picture at its projected styles (PTI)."""
    target, found = session.target, session.found
    if target is None or found is None:
        raise wishes.BadWish("there is no projection yet; find the picture first")
    if not studio.model.is_grown:
        raise wishes.BadWish("this checkpoint has layers that are missing or fading in; tune one that has grown")
    steps = wishes.whole(wish, "steps", 1, 2000, 350)
    net = studio.network()

    def work(job: Job) -> dict[str, Any]:
        def watch(step: int, losses: Any, draw: Callable[[], Any]) -> None:
            job.tick(step, steps, float(losses[0]), lambda: _png(draw()))

        tuned = tuner.tune(studio.model, target, found.ws[0], steps=steps, net=net, watch=watch)
        session.tuned = tuned.model
        session.steps = session.steps | {"tune_steps": steps}
        session.files["tuned.zip"] = _save_tuned(studio, session, steps)
        return {"start": float(tuned.losses[0]), "end": tuned.lpips, "of": "tuned", "file": "tuned.zip"}

    return work


def film(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that writes a film: one round of the closed path through its keyframes."""
    from stylegan_jax.sampling import paths
    from stylegan_jax.tools import _video_file as video_file

    ending = wishes.choice(wish, "ending", ENDINGS, "mp4")
    video_file.check_ending(f".{ending}", f"a film as .{ending}")
    frames = wishes.whole(wish, "frames", 1, 600, 30)
    fps = wishes.real(wish, "fps", 1, video_file.MAX_FPS[f".{ending}"], 30.0)
    total = frames * len(wishes.several(wish, "keys", 2, 32))
    if total > studio.limits.frames:
        raise wishes.BadWish(f"{total} frames; at most {studio.limits.frames} fit into one film")

    def work(job: Job) -> dict[str, Any]:
        keys, model = pictures.keyframes(studio, session, wish)
        ws = np.stack([key.ws for key in keys])
        at = paths.spline(ws)

        def each():
            for i in range(total):
                t = i / frames
                shown = keys[int(t)]._replace(ws=at(np.array([t]))[0], model=model)
                pixels = pictures.draw_one(shown)
                job.tick(i + 1, total, None, lambda pixels=pixels: images.png_bytes(pixels, level=1))
                yield pixels

        path = session.folder / f"film.{ending}"
        video_file.write(path, each(), fps)
        given = [f"--frames={frames}", f"--fps={fps:g}", f"--out=film.{ending}"]
        name, before = pictures.model_words(studio, session, model)
        command = before + commands.line("video", name, f"--styles={commands.STYLES}", *given)
        return {**_pack(session, path, ws, command), "frames": total, "seconds": total / fps}

    return work


def clip(studio: Studio, session: Session, wish: Mapping[str, Any]) -> Work:
    """Return the job that writes a video of a video model, starting at a time."""
    from stylegan_jax.tools import _video_file as video_file

    video, start, motion = pictures.read_moment(studio, wish)
    ending = wishes.choice(wish, "ending", ENDINGS, "mp4")
    video_file.check_ending(f".{ending}", f"a video as .{ending}")
    frames, speed = wishes.whole(wish, "frames", 1, studio.limits.frames, 64), wishes.real(wish, "speed", 0.05, 20, 1.0)
    fps = wishes.real(wish, "fps", 1, video_file.MAX_FPS[f".{ending}"], video.fps or 30.0)
    source = wishes.inner(wish, "source")

    def work(job: Job) -> dict[str, Any]:
        some = find_styles(studio.model, session, source)
        label = some.label if len(some.label) else None
        options: dict[str, Any] = {"start": start, "motion_seeds": motion, "speed": speed, "label": label}
        drawn = video.video(frames=frames, styles=some.ws[None], chunk=1, **options)

        def each():
            for i, (pixels,) in enumerate(drawn):
                job.tick(i + 1, frames, None, lambda pixels=pixels: images.png_bytes(pixels, level=1))
                yield pixels

        path = session.folder / f"video.{ending}"
        video_file.write(path, each(), fps)
        words = [f"--styles={commands.STYLES}", "--path=time", f"--start={start:g}", f"--motion_seeds={motion}"]
        words += [f"--frames={frames}", f"--speed={speed:g}", f"--fps={fps:g}"]
        words += read_label(studio.model, source).words
        command = commands.line("video", studio.words, *words, f"--out=video.{ending}")
        return {**_pack(session, path, some.ws[None], command), "frames": frames, "seconds": frames / fps}

    return work


def _pack(session: Session, path: Path, ws: np.ndarray, command: str) -> dict[str, Any]:
    """Offer a film, alone and zipped with its styles and command; return what the page shows about it."""
    whole = path.with_suffix(".zip")
    session.files |= {path.name: path, whole.name: whole}
    with zipfile.ZipFile(whole, "w") as archive:
        archive.write(path, path.name)
        archive.writestr(commands.STYLES, pictures.as_npz(ws))
        archive.writestr("command.txt", command + "\n")
    return {"file": path.name, "zip": whole.name, "command": command}


KINDS: dict[str, Callable[[Any, Session, Mapping[str, Any]], Work]] = {
    "project": project,
    "encode": encode,
    "tune": tune,
    "film": film,
    "clip": clip,
    "drag": drags.start,
}
"""Jobs by the name that a page requests."""
TITLES = {
    "project": "a projection",
    "encode": "an encoder",
    "tune": "tuning",
    "film": "a film",
    "clip": "a video",
    "drag": "dragging",
}


def found_files(session: Session) -> dict[str, bytes]:
    """Return the additional files of a projection's download: the target, and the projection as `project` writes it."""
    if session.target is None or session.found is None:
        return {}
    return {"target.png": images.png_bytes(session.target), "projected_w.npz": pictures.as_npz(session.found.ws)}


def _png(image: Any) -> bytes:
    return images.png_bytes(images.to_pixels(np.asarray(image))[0], level=1)


def _save_tuned(studio: Studio, session: Session, steps: int) -> Any:
    """Write the tuned model's folder and the projection as a zip into the session's folder."""
    from stylegan_jax.convert import write_model_folder
    from stylegan_jax.sampling import card

    model, folder = session.tuned, session.folder / "tuned"
    facts = {key: value for key, value in card.provenance(studio.model).items() if key != "metrics"}
    facts |= {"label_kind": model.label_kind, "tuned": {"steps": steps}}
    g_ema = model.g_ema | {"w_avg": np.asarray(model.w_avg)}
    write_model_folder(folder, dataclasses.asdict(model.config), {"g_ema": g_ema}, facts, overwrite=True)
    arrays.write_npz(session.folder / commands.STYLES, w=session.found.ws)
    path = session.folder / "tuned.zip"
    lines = [session.steps["line"], commands.tune(studio.words, steps)]
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"tuned/{file.name}")
        archive.write(session.folder / commands.STYLES, commands.STYLES)
        archive.writestr("target.png", images.png_bytes(np.asarray(session.target)))
        archive.writestr("command.txt", "\n".join(lines) + "\n")
    return path
