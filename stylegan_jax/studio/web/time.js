// Time: the videos of a model that was trained on videos; what they show, and how they move, apart.

import { Lane, model } from "./api.js";
import { starter } from "./bench.js";
import { button, choice, el, fail, group, job, number, page, player, showFile, slider, stage } from "./kit.js";

export function build() {
  const lane = new Lane("time");
  const rate = model.fps || 30;
  const start = starter(() => ask());
  const motion = number("Motion: seed", { id: "motion-seed", value: 0 }, ask);
  const at = slider("Time", { id: "moment", min: 0, max: 128, step: 0.25, value: 0, hint: "in frames of the training data, fractions too" }, ask);
  const speed = slider("Speed", { id: "video-speed", min: 0.1, max: 3, step: 0.1, value: 1 });
  const frames = slider("Frames", { id: "video-frames", min: 8, max: 256, step: 8, value: 64 });
  const ending = choice("File", [["mp4", "MP4 (H.264)"], ["webp", "WebP"], ["gif", "GIF"]], "mp4", () => {}, "video-ending");
  const one = stage("A frame of the video", { name: () => "frame" });
  const screen = el("div", { class: "screen" });

  function ask() {
    const wish = { source: start.source, t: at.value, motion_seed: motion.value };
    lane.ask("moment", wish, (bitmap, about, ms) => one.show(bitmap, about, `time ${about.t.toFixed(2)}, motion ${wish.motion_seed} · ${Math.round(ms)} ms`, { kind: "moment", wish }), fail);
  }
  let t = 0;
  const play = player("Play", { id: "play-video" }, (seconds) => {
    t = (t + seconds * rate * speed.value) % 128;
    at.value = t;
    if (!lane.busy) ask();
  }, () => { t = at.value; });
  const made = job("clip", {
    preview: (bitmap, told) => one.show(bitmap, {}, `frame ${told.step} of ${told.steps}`),
    done: (result) => showFile(screen, result, "the video", "save-video"),
  });
  const write = button("Make the video", () => { play.stop(); made.start({ source: start.source, t: at.value, motion_seed: motion.value, frames: frames.value, speed: speed.value, fps: rate, ending: ending.value }); }, { class: "primary", id: "make-video" });
  const node = page("Time", "The picture determines what a video shows, and a seed of its own how it moves. Any time can be drawn, however late.", [screen, one.node, at.node], [
    group("Picture", start.node),
    group("Motion", motion.node, speed.node, el("div", { class: "row" }, play.node)),
    group("File", frames.node, ending.node, el("div", { class: "row" }, write), made.node),
  ]);
  return { node, enter: ask, leave: play.stop };
}
