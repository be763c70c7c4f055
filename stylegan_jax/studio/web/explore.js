// Explore: one picture by seed, truncation, class and noise; a gallery; a truncation grid; a walk.

import { Lane, model } from "./api.js";
import { bench, className, classes, star, take, tell } from "./bench.js";
import { button, choice, el, fail, group, number, page, slider, stage, text, thumbnail } from "./kit.js";

const PSIS = [-1, -0.5, 0, 0.5, 0.7, 1];
const PER_PAGE = 12;
const randomSeed = () => Math.floor(Math.random() * 4294967296);

export function build() {
  const lane = new Lane("picture"), sheet = new Lane("sheet");
  let view = "picture", walk = 0, given = null, first = 0;
  const changed = () => { given = null; ask(); };
  const seed = number("Seed", { id: "seed", value: 0 }, () => { share.value = 0; changed(); });
  const toward = number("Towards seed", { id: "toward", value: 1 }, changed);
  const share = slider("How far", { id: "share", min: 0, max: 1, step: 0.01, value: 0 }, changed);
  const psi = slider("Truncation ψ", { id: "psi", min: -1, max: 1.5, step: 0.05, value: 0.7, hint: "0 is the average picture, 1 the full variety." }, changed);
  const cutoff = slider("Layers it applies to", { id: "cutoff", min: 0, max: model.num_ws, step: 1, value: model.num_ws }, changed);
  const noise = choice("Noise", [["const", "the model's own"], ["random", "fresh"], ["none", "none"]], "const", changed, "noise");
  const noiseSeed = number("Noise seed", { id: "noise-seed", value: 0 }, changed);
  const byClass = model.label_dim > 0 && model.label_kind === "classes";
  const label = byClass
    ? choice("Class", classes(), 0, changed, "class")
    : text("Label", { id: "label", value: Array(model.label_dim).fill(0).join(","), hint: `${model.label_dim} numbers with commas between` }, changed);
  const speed = slider("Speed", { id: "speed", min: 0.05, max: 1, step: 0.05, value: 0.25 });

  const common = () => {
    const source = { psi: psi.value };
    if (cutoff.value < model.num_ws) source.cutoff = cutoff.value;
    if (byClass) source.class = Number(label.value);
    else if (model.label_dim) source.numbers = label.value.split(",").map(Number);
    return source;
  };
  const source = () => {
    if (given) return given;
    const own = { kind: "seed", seed: seed.value, ...common() };
    return share.value ? { ...own, toward: toward.value, share: share.value } : own;
  };
  const words = () => {
    if (given) return bench.words;
    const blend = share.value ? ` ${Math.round(share.value * 100)} % towards ${toward.value}` : "";
    return `seed ${seed.value}${blend}, ψ ${psi.value}${byClass ? `, class ${className(label.value)}` : ""}`;
  };
  const one = stage("The generated picture", { actions: [star(() => ({ source: view === "picture" ? source() : null, words: words(), canvas: one.canvas }))], name: () => `seed${seed.value}` });
  one.mat.tabIndex = 0;
  one.mat.setAttribute("aria-label", "Picture. Left and right: seed. Up and down: truncation. R: random seed.");

  function ask() {
    if (view === "gallery") return askGallery();
    if (view === "truncation") return askTruncation();
    one.clear();
    const wish = { source: source(), noise: noise.value, noise_seed: noiseSeed.value };
    const said = words();
    lane.ask("picture", wish, (bitmap, about, ms) => {
      one.show(bitmap, about, `${said} · ${Math.round(ms)} ms`, { kind: "picture", wish });
      take(wish.source, said, walk ? "" : thumbnail(one.canvas));
      if (!walk && !given) history.replaceState(null, "", `#explore?${link(wish.source)}`);
    }, fail);
  }

  const link = (own) => new URLSearchParams(Object.entries(own).filter(([key]) => key !== "kind").map(([key, x]) => [key, String(x)])).toString();

  function askGallery() {
    const wish = { seeds: `${first}-${first + PER_PAGE - 1}`, columns: 4, ...common() };
    sheet.ask("gallery", wish, (bitmap, about, ms) => {
      one.show(bitmap, about, `seeds ${first} to ${first + PER_PAGE - 1}, ψ ${psi.value} · ${Math.round(ms)} ms. Choose one.`, { kind: "gallery", wish });
      one.grid(3, 4, (r, c) => choose(about.seeds[4 * r + c], psi.value), (r, c) => `seed ${about.seeds[4 * r + c]}`);
    }, fail);
  }

  function askTruncation() {
    const own = common();
    const wish = { ...own, seeds: `${seed.value}-${Math.min(seed.value + 3, 4294967295)}`, psis: PSIS };
    sheet.ask("truncation", wish, (bitmap, about, ms) => {
      one.show(bitmap, about, `rows: seeds from ${seed.value}; columns: ψ ${PSIS.join(", ")} · ${Math.round(ms)} ms. Choose one.`, { kind: "truncation", wish });
      one.grid(about.seeds.length, PSIS.length, (r, c) => choose(about.seeds[r], PSIS[c]), (r, c) => `seed ${about.seeds[r]}, ψ ${PSIS[c]}`);
    }, fail);
  }

  function choose(chosen, at) {
    seed.value = chosen;
    psi.value = at;
    share.value = 0;
    given = null;
    look("picture");
  }

  const tabs = ["picture", "gallery", "truncation"].map((name) =>
    button({ picture: "Picture", gallery: "Gallery", truncation: "Truncation grid" }[name], () => look(name), { "aria-pressed": String(name === view), class: "tab", id: `view-${name}` }));
  const turn = el("div", { class: "row", hidden: true }, button("← Earlier", () => { first = Math.max(0, first - PER_PAGE); ask(); }, { class: "quiet small" }), button("Later →", () => { first += PER_PAGE; ask(); }, { class: "quiet small", id: "later" }));
  function look(name) {
    view = name;
    if (name !== "picture") stopWalk();
    tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.id === `view-${name}`)));
    turn.hidden = name !== "gallery";
    ask();
  }

  const go = button("Start a random walk", () => (walk ? stopWalk() : startWalk()), { id: "walk", "aria-pressed": "false" });
  function startWalk() {
    look("picture");
    given = null;
    toward.value = randomSeed();
    let before = performance.now();
    go.setAttribute("aria-pressed", "true");
    go.textContent = "Stop the walk";
    const step = (now) => {
      if (!walk) return;
      let at = share.value + (speed.value * Math.min(now - before, 200)) / 1000;
      before = now;
      if (at >= 1) {
        seed.value = toward.value;
        toward.value = randomSeed();
        at = 0;
      }
      share.value = at;
      if (!lane.busy) ask();
      walk = requestAnimationFrame(step);
    };
    walk = requestAnimationFrame(step);
  }
  function stopWalk() {
    if (!walk) return;
    cancelAnimationFrame(walk);
    walk = 0;
    go.setAttribute("aria-pressed", "false");
    go.textContent = "Start a random walk";
    ask();
  }

  const step = (by) => { seed.value = Math.max(0, Math.min(4294967295, seed.value + by)); share.value = 0; changed(); };
  one.mat.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => { psi.value += 0.05; changed(); }, ArrowDown: () => { psi.value -= 0.05; changed(); }, r: random };
    const act = keys[event.key];
    if (!act || event.target !== one.mat) return;
    event.preventDefault();
    act();
  });
  function random() { seed.value = randomSeed(); share.value = 0; changed(); }

  // Drag across the picture: on the way to the next seed, or to the one before.
  let drag = null;
  one.mat.addEventListener("pointerdown", (event) => {
    if (view !== "picture" || event.button) return;
    drag = { x: event.clientX, seed: seed.value };
    one.mat.setPointerCapture(event.pointerId);
  });
  one.mat.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const far = (event.clientX - drag.x) / one.canvas.clientWidth;
    if (Math.abs(far) < 0.01) return;
    const whole = Math.trunc(far);
    seed.value = Math.max(0, drag.seed + whole);
    toward.value = Math.max(0, drag.seed + whole + Math.sign(far));
    share.value = Math.abs(far - whole);
    changed();
  });
  one.mat.addEventListener("pointerup", () => { drag = null; });

  const node = page("Explore", null, [el("div", { class: "row tabs" }, ...tabs, turn), one.node], [
    group("Seed", seed.node, el("div", { class: "row" }, button("−", () => step(-1), { "aria-label": "previous seed", class: "square" }), button("+", () => step(1), { "aria-label": "next seed", class: "square" }), button("Random", random, { id: "random", class: "primary" })), toward.node, share.node),
    group("Truncation", psi.node, model.num_ws > 1 ? cutoff.node : null),
    model.label_dim ? group(byClass ? "Class" : "Label", label.node) : null,
    model.has_noise ? group("Noise", noise.node, noiseSeed.node) : null,
    group("Walk", el("div", { class: "row" }, go), speed.node, el("p", { class: "hint" }, "Or drag across the picture, or focus it and use the arrow keys.")),
  ].filter(Boolean));

  /** Show what the address or another page asks for. */
  function enter(params) {
    if (params.get("seed") !== null) {
      given = null;
      seed.value = Number(params.get("seed")) || 0;
      if (params.get("psi") !== null) psi.value = Number(params.get("psi"));
      if (params.get("cutoff") !== null) cutoff.value = Number(params.get("cutoff"));
      if (params.get("class") !== null && byClass) label.value = params.get("class");
      share.value = Number(params.get("share") || 0);
      if (params.get("toward") !== null) toward.value = Number(params.get("toward"));
    } else if (bench.source.kind !== "seed") {
      given = bench.source; // a mixture, an edit or a projection: any control below goes back to seeds
    } else {
      const own = bench.source;
      given = null;
      seed.value = own.seed;
      psi.value = own.psi ?? 1;
      cutoff.value = own.cutoff ?? model.num_ws;
      share.value = own.share || 0;
      if (own.toward !== undefined) toward.value = own.toward;
      if (byClass && own.class !== undefined) label.value = own.class;
    }
    look("picture");
  }
  return { node, enter, leave: stopWalk, tell };
}
