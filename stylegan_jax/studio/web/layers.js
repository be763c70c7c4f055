// Layers: what each layer computes, channel by channel, and the spectrum of the picture.

import { Lane } from "./api.js";
import { starter } from "./bench.js";
import { button, choice, el, fail, group, page, stage } from "./kit.js";

const COUNT = 16;

export function build() {
  const lane = new Lane("layers"), spectra = new Lane("spectrum"), lister = new Lane("names");
  const start = starter(() => draw());
  const layer = choice("Layer", [], undefined, () => { first = 0; ask(); }, "layer", true);
  const view = choice("Show", [["channels", "16 channels"], ["rgb", "three channels as red, green, blue"]], "channels", () => ask(), "layer-view", true);
  const one = stage("Feature maps", { name: () => "layer" }), power = stage("Power spectrum", { name: () => "spectrum" });
  let first = 0, channels = 1, known = false;

  function draw() {
    ask();
    const wish = { source: start.source };
    spectra.ask("spectrum", wish, (bitmap, about) => power.show(bitmap, about, "coarse detail in the centre, fine detail towards the edges", { kind: "spectrum", wish }), fail);
  }
  function ask() {
    if (!known) return;
    const wish = { source: start.source, layer: layer.value, first, count: COUNT, view: view.value };
    lane.ask("maps", wish, (bitmap, about, ms) => {
      channels = about.channels;
      const last = Math.min(first + (view.value === "rgb" ? 3 : COUNT), channels) - 1;
      one.show(bitmap, about, `channels ${first} to ${last} of ${channels} · mean ${about.mean.toPrecision(3)}, std ${about.std.toPrecision(3)}, ${about.low.toPrecision(3)} to ${about.high.toPrecision(3)} · ${Math.round(ms)} ms`, { kind: "maps", wish });
    }, fail);
  }
  const turn = (by) => { const next = first + by * (view.value === "rgb" ? 3 : COUNT); if (next >= 0 && next < channels) { first = next; ask(); } };
  const node = page("Layers", "What the network has drawn after each layer, from coarse to fine. Every channel is stretched from black to white.", [one.node, power.node], [
    group("Picture", start.node),
    group("Layer", layer.node, view.node, el("div", { class: "row" }, button("← Channels before", () => turn(-1), { class: "quiet small" }), button("Channels after →", () => turn(1), { class: "quiet small", id: "channels-after" }))),
    el("p", { class: "hint" }, "The first time, the network is compiled once more, which takes as long as the start."),
  ]);
  function enter() {
    if (known) return draw();
    lister.ask("layers", {}, (told) => {
      layer.fill(told.layers.map((one) => [one.name, `${one.name} · ${one.width}×${one.height} · ${one.channels} channels`]));
      const middle = told.layers.filter((one) => one.channels > 4);
      if (middle.length) layer.value = middle[Math.floor(middle.length / 2)].name;
      known = true;
      draw();
    }, fail);
  }
  return { node, enter };
}
