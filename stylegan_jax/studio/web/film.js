// Film: keyframes on a strip, a preview, and a file to keep.

import { Lane } from "./api.js";
import { bench, watch } from "./bench.js";
import { button, choice, el, fail, group, job, page, player, showFile, slider, stage, thumbnail } from "./kit.js";

export function build() {
  const lane = new Lane("film"), drawer = new Lane("keyframe");
  const keys = [];
  const strip = el("ol", { class: "strip big", id: "keyframes" });
  const empty = el("p", { class: "hint" }, "Add at least two keyframes; the film goes through them and back to the first.");
  const frames = slider("Frames per keyframe", { id: "frames", min: 5, max: 120, step: 5, value: 30 });
  const fps = slider("Frames per second", { id: "fps", min: 5, max: 60, step: 1, value: 30 });
  const ending = choice("File", [["mp4", "MP4 (H.264)"], ["webp", "WebP"], ["gif", "GIF"]], "mp4", () => {}, "ending");
  const at = slider("Place in the film", { id: "time", min: 0, max: 1, step: 0.005, value: 0 }, () => ask());
  const one = stage("A frame of the film", { name: () => "frame" });
  const screen = el("div", { class: "screen", id: "screen" });

  function ask() {
    if (keys.length < 2) return;
    const wish = { keys: keys.map((key) => key.source), t: Math.min(at.value, 0.9999) * keys.length };
    lane.ask("frame", wish, (bitmap, about, ms) => one.show(bitmap, about, `keyframe ${about.t.toFixed(2)} · ${Math.round(ms)} ms`, { kind: "frame", wish }), fail);
  }

  function add(source, words, thumb) {
    keys.push({ source: structuredClone(source), words, thumb });
    show();
    paint();
  }

  /** Draw the keyframes that have no small picture yet, one after the other. */
  function paint() {
    const key = keys.find((other) => !other.thumb);
    if (!key) return;
    drawer.ask("picture", { source: key.source }, (bitmap) => {
      const canvas = el("canvas", { width: bitmap.width, height: bitmap.height });
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      key.thumb = thumbnail(canvas);
      show();
      paint();
    }, fail);
  }

  function show() {
    empty.hidden = keys.length > 1;
    strip.replaceChildren(...keys.map((key, i) => el("li", {},
      el("img", { src: key.thumb || "icon.svg", alt: `keyframe ${i + 1}: ${key.words}`, title: key.words }),
      el("div", { class: "row" },
        button("‹", () => shift(i, -1), { class: "square", "aria-label": `move keyframe ${i + 1} earlier`, disabled: i === 0 }),
        button("×", () => { keys.splice(i, 1); show(); ask(); }, { class: "square", "aria-label": `remove keyframe ${i + 1}` }),
        button("›", () => shift(i, 1), { class: "square", "aria-label": `move keyframe ${i + 1} later`, disabled: i === keys.length - 1 })))));
    write.disabled = play.node.disabled = keys.length < 2;
    ask();
  }
  function shift(i, by) {
    [keys[i], keys[i + by]] = [keys[i + by], keys[i]];
    show();
  }

  const play = player("Play the preview", { id: "play", disabled: true }, (seconds) => {
    at.value = (at.value + (seconds * fps.value) / (keys.length * frames.value)) % 1;
    if (!lane.busy) ask();
  });

  const made = job("film", {
    preview: (bitmap, told) => one.show(bitmap, {}, `frame ${told.step} of ${told.steps}`),
    done: async (result) => {
      await showFile(screen, result, "the film", "save-film");
      screen.scrollIntoView({ block: "center" });
    },
  });
  const write = button("Make the film", () => { play.stop(); made.start({ keys: keys.map((key) => key.source), frames: frames.value, fps: fps.value, ending: ending.value }); }, { class: "primary", id: "make-film", disabled: true });

  const random = () => ({ kind: "seed", seed: Math.floor(Math.random() * 4294967296), psi: bench.source.psi ?? 0.7, ...(bench.source.class === undefined ? {} : { class: bench.source.class }) });
  const addAll = button("Add all favourites", () => bench.favourites.forEach((one) => add(one.source, one.words, one.thumb)), { class: "quiet small", id: "add-favourites" });
  watch(() => { addAll.disabled = !bench.favourites.length; });
  addAll.disabled = !bench.favourites.length;
  const node = page("Film", "A film that loops: a smooth path through the styles of the keyframes.", [strip, empty, screen, one.node, at.node], [
    group("Keyframes", el("div", { class: "row" },
      button("Add the picture of Explore", () => add(bench.source, bench.words, bench.thumb), { class: "small", id: "add-current" }),
      button("Add a random one", () => { const source = random(); add(source, `seed ${source.seed}`, ""); }, { class: "small", id: "add-random" }), addAll)),
    group("Speed", frames.node, fps.node, el("div", { class: "row" }, play.node)),
    group("File", ending.node, el("div", { class: "row" }, write), made.node),
  ]);
  return { node, enter: show, leave: play.stop };
}
