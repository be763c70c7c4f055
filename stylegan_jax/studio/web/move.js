// Move: the canvas of a StyleGAN3 model, moved and turned.

import { Lane } from "./api.js";
import { star, starter } from "./bench.js";
import { button, el, fail, group, page, player, slider, stage } from "./kit.js";

export function build() {
  const lane = new Lane("move");
  const start = starter(() => ask());
  const x = slider("Right", { id: "move-x", min: -0.5, max: 0.5, step: 0.005, value: 0, hint: "in widths of the picture" }, ask);
  const y = slider("Down", { id: "move-y", min: -0.5, max: 0.5, step: 0.005, value: 0, hint: "in heights" }, ask);
  const degrees = slider("Turn", { id: "degrees", min: -180, max: 180, step: 1, value: 0, hint: "degrees, counter-clockwise" }, ask);
  const one = stage("The moved picture", { actions: [star(() => ({ source: start.source, words: start.words, canvas: one.canvas }))], name: () => "moved" });

  function ask() {
    const wish = { source: start.source, x: x.value, y: y.value, degrees: degrees.value };
    lane.ask("picture", wish, (bitmap, about, ms) => one.show(bitmap, about, `right ${wish.x}, down ${wish.y}, turned ${wish.degrees}° · ${Math.round(ms)} ms`, { kind: "picture", wish }), fail);
  }

  let drag = null;
  one.mat.addEventListener("pointerdown", (event) => { drag = { at: [event.clientX, event.clientY], from: [x.value, y.value] }; one.mat.setPointerCapture(event.pointerId); });
  one.mat.addEventListener("pointermove", (event) => {
    if (!drag) return;
    x.value = drag.from[0] + (event.clientX - drag.at[0]) / one.canvas.clientWidth;
    y.value = drag.from[1] + (event.clientY - drag.at[1]) / one.canvas.clientHeight;
    ask();
  });
  one.mat.addEventListener("pointerup", () => { drag = null; });

  const spin = player("Turn it round", { id: "spin" }, (seconds) => {
    degrees.value = ((degrees.value + 60 * seconds + 180) % 360) - 180;
    if (!lane.busy) ask();
  });
  const reset = button("Put it back", () => { x.value = y.value = degrees.value = 0; ask(); }, { class: "quiet" });
  const node = page("Move", "StyleGAN3 draws on a canvas without pixels of its own: details travel with the picture. Drag it.", [one.node], [
    group("Picture", start.node),
    group("Place", x.node, y.node, degrees.node, el("div", { class: "row" }, spin.node, reset)),
  ]);
  return { node, enter: ask, leave: spin.stop };
}
