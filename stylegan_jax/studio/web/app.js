// The frame: which page is open, what the model cannot do, the theme.

import { alive, model, open, stored, takeToken } from "./api.js";
import { showShelf } from "./bench.js";
import { el, fail, say } from "./kit.js";
import * as drag from "./drag.js";
import * as edit from "./edit.js";
import * as explore from "./explore.js";
import * as film from "./film.js";
import * as layers from "./layers.js";
import * as mix from "./mix.js";
import * as move from "./move.js";
import * as picture from "./picture.js";
import * as run from "./run.js";
import * as time from "./time.js";

const PAGES = [
  ["explore", "Explore", explore],
  ["mix", "Mix", mix],
  ["edit", "Edit", edit],
  ["picture", "Your picture", picture],
  ["drag", "Drag", drag],
  ["move", "Move", move],
  ["time", "Time", time],
  ["film", "Film", film],
  ["layers", "Layers", layers],
  ["run", "Run", run],
];
const built = {};
let current = "";

function show() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  const known = PAGES.find(([key]) => key === name) ? name : "explore";
  const [, title, maker] = PAGES.find(([key]) => key === known);
  if (known !== current) {
    built[current]?.leave?.();
    if (current) say("");
  }
  current = known;
  const reason = model.reasons[known];
  if (!reason && !built[known]) built[known] = maker.build();
  const closed = () => el("section", { class: "page closed" }, el("div", { class: "look" }, el("h1", {}, title), el("p", { class: "lead" }, "Not for this model."), el("p", {}, reason)));
  document.getElementById("main").replaceChildren(reason ? closed() : built[known].node);
  document.title = `${title} · ${model.name}`;
  for (const link of document.querySelectorAll(".pages a")) {
    if (link.dataset.page === known) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!reason) built[known].enter?.(new URLSearchParams(query));
}

function theme() {
  const toggle = document.getElementById("theme");
  const put = (name) => {
    document.documentElement.dataset.theme = name;
    toggle.textContent = name === "dark" ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `use the ${name === "dark" ? "light" : "dark"} theme`);
    stored("localStorage", "studio-theme", name);
  };
  put(stored("localStorage", "studio-theme") || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
  toggle.addEventListener("click", () => put(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

export function describe() {
  const size = `${model.width}×${model.height}`;
  const age = model.nimg ? ` · ${(model.nimg / 1000).toLocaleString()} kimg` : "";
  document.getElementById("about").textContent = `${model.name} · ${model.arch} · ${size} · ${(model.parameters / 1e6).toFixed(1)} M parameters${age}`;
  document.getElementById("pages").replaceChildren(el("ul", {}, ...PAGES.map(([name, title]) => {
    const reason = model.reasons[name];
    const link = el("a", { href: `#${name}`, class: reason ? "off" : "", "data-page": name, title: reason || title }, title);
    if (reason) link.setAttribute("aria-description", reason);
    return el("li", {}, link);
  })));
}

async function start() {
  theme();
  takeToken();
  await open();
  describe();
  showShelf();
  addEventListener("hashchange", show);
  say(model.state === "compiling" ? "compiling the model: the first picture takes a few seconds" : model.state, model.state !== "compiling" && model.state !== "ready");
  show();
  const wait = async () => {
    const told = await alive();
    if (told.state === "compiling") return setTimeout(() => wait().catch(fail), 500);
    say(told.state === "ready" ? "ready" : told.state, told.state !== "ready");
  };
  wait().catch(fail);
  setInterval(() => alive().catch(() => say("the studio does not answer; is it still running?", true)), 60000);
}

start().catch(fail);
