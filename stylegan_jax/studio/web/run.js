// Run: the grids and curves of the training run that the model is of, while it trains too.

import { json, model, reload, save, send } from "./api.js";
import { button, el, fail, group, page, say, slider } from "./kit.js";

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, props, ...children) => {
  const node = document.createElementNS(SVG, tag);
  Object.entries(props).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
};
const short = (x) => (Math.abs(x) >= 1000 || (x && Math.abs(x) < 0.01) ? x.toExponential(1) : String(Number(x.toPrecision(3))));

/** A curve in a frame, with its ends and its last value in words. */
function chart(name, points) {
  const [w, h] = [280, 110];
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) => `${(((x - x0) / (x1 - x0 || 1)) * (w - 12) + 6).toFixed(1)},${(h - 8 - ((y - y0) / (y1 - y0 || 1)) * (h - 16)).toFixed(1)}`;
  const line = svg("polyline", { points: points.map(place).join(" "), class: "curve" });
  const [cx, cy] = place(points[points.length - 1]).split(",");
  const picture = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${name}, from ${short(points[0][1])} to ${short(ys[ys.length - 1])}` }, line, svg("circle", { cx, cy, r: 3, class: "end" }));
  return el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, name), el("b", {}, short(ys[ys.length - 1]))), picture, el("p", { class: "hint" }, `${short(y0)} to ${short(y1)}`));
}

export function build() {
  const curves = el("div", { class: "charts", id: "curves" });
  const picture = el("img", { alt: "samples of the run", class: "grid-picture", id: "run-grid" });
  const words = el("p", { class: "hint", id: "run-words" }, "");
  const place = slider("Grid", { id: "grid-number", min: 0, max: 1, step: 1, value: 0 }, () => { follow = false; show(); });
  const range = place.node.querySelector("input[type=range]");
  const newest = button("Draw from the newest checkpoint", take, { id: "newest", class: "primary", hidden: true });
  const progress = el("p", { id: "run-progress" }, "");
  let grids = [], shown = "", follow = true, timer = 0;

  async function look() {
    try {
      const told = await json("/api/run");
      grids = told.grids;
      range.max = place.node.querySelector(".figure").max = Math.max(0, grids.length - 1);
      const fakes = grids.map((name, i) => [name, i]).filter(([name]) => name.startsWith("fakes"));
      if (follow && fakes.length) place.value = fakes[fakes.length - 1][1];
      await show();
      const left = told.seconds_left ? `, about ${Math.ceil(told.seconds_left / 60)} minutes left at the last report` : "";
      progress.textContent = `${told.kimg.toFixed(1)} thousand images shown, step ${told.step}${left}. The studio draws step ${told.shown}.`;
      newest.hidden = told.newest === null || told.newest === told.shown;
      const names = Object.keys(told.curves).sort((a, b) => order(a) - order(b) || a.localeCompare(b));
      curves.replaceChildren(...names.map((name) => chart(name, told.curves[name])));
      window.done += 1;
    } catch (error) {
      fail(error);
    }
  }
  const order = (name) => ["metric", "loss", "scores", "signs"].indexOf(name.split("/")[0]) >>> 0;

  async function show() {
    const name = grids[place.value];
    if (!name || name === shown) return;
    shown = name;
    const reply = await send(`/api/grid/${encodeURIComponent(name)}`);
    const old = picture.src;
    picture.src = URL.createObjectURL(await reply.blob());
    if (old) URL.revokeObjectURL(old);
    words.textContent = name;
  }
  async function take() {
    try {
      say("loading the checkpoint…");
      await reload();
      say(`drawing step ${model.step}`);
      await look();
    } catch (error) {
      fail(error);
    }
  }
  async function pack() {
    try {
      const reply = await send(`/api/bundle/${encodeURIComponent(shown)}`);
      save(await reply.blob(), `${shown.replace(/\.\w+$/, "")}.zip`);
    } catch (error) {
      fail(error);
    }
  }
  const tools = el("div", { class: "row tools" }, button("Download", pack, { class: "do-download", title: "this grid, the curves, the configuration and a command" }));
  const node = page("Run", null, [el("figure", { class: "stage" }, el("div", { class: "mat" }, picture), el("div", { class: "under" }, words, tools)), place.node, curves], [
    group("Progress", progress, el("div", { class: "row" }, newest), el("p", { class: "hint" }, "Curves and grids are refreshed every five seconds.")),
  ]);
  return { node, enter: () => { follow = true; look(); timer = setInterval(look, 5000); }, leave: () => clearInterval(timer) };
}
