// Edit: directions in the style space as sliders, in the layers that are chosen.

import { Lane, model, send } from "./api.js";
import { classOf, openPage, star, starter, take } from "./bench.js";
import { button, choice, el, fail, group, layers, page, say, slider, stage, thumbnail } from "./kit.js";

export function build() {
  const lane = new Lane("edit"), finder = new Lane("directions");
  const start = starter(() => ask());
  let set = "", moves = [], plain = false;
  const methods = [["sefa", "SeFa: weights of the layers"], ["ganspace", "GANSpace: principal components"]].filter(([key]) => key !== "sefa" || model.num_ws > 1);
  const method = choice("Find directions by", methods, methods[0][0], find, "method", true);
  const where = layers(model, model.groups.all, () => { if (method.value === "sefa") find(); else ask(); });
  const list = el("div", { class: "sliders", id: "directions" });
  const file = el("input", { type: "file", id: "directions-file", accept: ".npz,.npy", onchange: () => file.files[0] && load(file.files[0]) });
  const one = stage("The edited picture", {
    actions: [
      star(() => ({ source: source(), words: words(), canvas: one.canvas })),
      button("Work on it", () => { take(source(), words(), thumbnail(one.canvas)); openPage("explore"); }, { class: "quiet" }),
    ],
    name: () => "edited",
  });
  const hold = button("Hold to see it unedited", () => {}, { class: "quiet", id: "unedited" });
  const peek = (on) => { if (plain !== on) { plain = on; ask(); } };
  hold.addEventListener("pointerdown", () => peek(true));
  for (const name of ["pointerup", "pointerleave", "blur"]) hold.addEventListener(name, () => peek(false));
  hold.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") peek(true); });
  hold.addEventListener("keyup", () => peek(false));

  const chosen = () => moves.map((move, index) => ({ set, index, strength: move.value, layers: where.value })).filter((move) => move.strength);
  const source = () => (plain || !chosen().length ? start.source : { kind: "edit", of: start.source, moves: chosen() });
  const words = () => chosen().map((move) => `${move.index + 1}: ${move.strength > 0 ? "+" : ""}${move.strength}`).join(", ") || "unedited";

  function ask() {
    const wish = { source: source() };
    const said = plain ? "unedited" : words();
    lane.ask("picture", wish, (bitmap, about, ms) => one.show(bitmap, about, `${said} · ${Math.round(ms)} ms`, { kind: "picture", wish }), fail);
  }

  function find() {
    if (method.value === "sefa" && !where.value.length) return say("choose at least one layer", true);
    const wish = { method: method.value, layers: where.value, count: Math.min(8, model.w_dim), ...(model.label_dim ? { class: classOf() } : {}) };
    say(method.value === "ganspace" ? "drawing 10,000 styles…" : "looking for directions…");
    finder.ask("directions", wish, (found) => { show(found); say(`${found.values.length} directions`); }, fail);
  }

  function show(found) {
    set = found.set;
    const most = Math.max(...found.values) || 1;
    moves = found.values.map((value, i) => slider(`Direction ${i + 1}`, { id: `direction-${i}`, min: -5, max: 5, step: 0.1, value: 0 }, ask));
    moves.forEach((move, i) => move.node.style.setProperty("--weight", found.values[i] / most));
    list.replaceChildren(...moves.map((move) => move.node));
    ask();
  }

  async function load(given) {
    try {
      const reply = await send("/api/directions", { method: "POST", body: given });
      show(await reply.json());
      say("directions of your file");
    } catch (error) {
      fail(error);
    }
    file.value = "";
  }

  const reset = button("Set all to 0", () => { moves.forEach((move) => { move.value = 0; }); ask(); }, { class: "quiet small", id: "reset" });
  const node = page("Edit", "Each direction in the space of styles changes roughly one thing. Move a slider and see what it does; directions have no names.", [one.node, el("div", { class: "row" }, hold)], [
    group("Picture", start.node),
    group("Directions", method.node, list, el("div", { class: "row" }, reset), el("div", { class: "field stacked" }, el("label", { for: "directions-file" }, "Or directions that you saved (.npz, .npy)"), file)),
    group("Layers that move", where.node),
  ]);
  return { node, enter: () => (set ? ask() : find()) };
}
