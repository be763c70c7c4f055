// Parts of the pages: labelled controls, the stage that shows a picture, jobs with a bar.

import { download, json, post, save, send } from "./api.js";

/** Make an element: properties, then children; `aria-…` and `data-…` become attributes. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.includes("-") || name === "for" || name === "role" || name === "list") node.setAttribute(name, value);
    else if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

let made = 0;
const fresh = (stem) => `${stem}-${made++}`;

/** A slider with a number beside it; both say the same. */
export function slider(label, { id = fresh("s"), min, max, step, value, hint = "" }, changed = () => {}) {
  const range = el("input", { type: "range", id, min, max, step });
  const field = el("input", { type: "number", min, max, step, class: "figure", "aria-label": `${label}, number` });
  range.value = field.value = value;
  const put = (next, tell) => {
    const known = Number.isFinite(Number(next)) && next !== "" ? Number(next) : value;
    range.value = known;
    field.value = Number(range.value);
    range.style.setProperty("--at", `${((Number(range.value) - min) / (max - min || 1)) * 100}%`);
    if (tell) changed(Number(range.value));
  };
  range.addEventListener("input", () => put(range.value, true));
  field.addEventListener("change", () => put(field.value, true));
  put(value, false);
  const help = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (help) range.setAttribute("aria-describedby", help.id);
  const node = el("div", { class: "field" }, el("label", { for: id }, label), field, range, help);
  return { node, get value() { return Number(range.value); }, set value(next) { put(next, false); } };
}

export function number(label, { id = fresh("n"), min = 0, max = 4294967295, value = 0 }, changed = () => {}) {
  const field = el("input", { type: "number", id, min, max, step: 1, class: "figure wide" });
  const read = () => {
    const given = Math.floor(Number(field.value));
    return field.value !== "" && given >= min && given <= max ? given : value;
  };
  field.value = value;
  field.addEventListener("input", () => field.checkValidity() && field.value !== "" && changed(read()));
  const node = el("div", { class: "field" }, el("label", { for: id }, label), field);
  return { node, field, get value() { return read(); }, set value(next) { field.value = next; } };
}

export function text(label, { id = fresh("t"), value = "", hint = "" }, changed = () => {}) {
  const field = el("input", { type: "text", id, value, spellcheck: false, autocomplete: "off" });
  field.addEventListener("change", () => changed(field.value));
  const node = el("div", { class: "field stacked" }, el("label", { for: id }, label), field, hint ? el("p", { class: "hint" }, hint) : null);
  return { node, field, get value() { return field.value; }, set value(next) { field.value = next; } };
}

/** A list to choose from; options are [value, text] pairs. */
export function choice(label, options, value, changed = () => {}, id = fresh("c"), isWide = false) {
  const field = el("select", { id });
  const fill = (pairs) => {
    const before = field.value;
    field.replaceChildren(...pairs.map(([key, name]) => new Option(name, key)));
    if (pairs.some(([key]) => String(key) === before)) field.value = before;
  };
  fill(options);
  if (value !== undefined) field.value = value;
  field.addEventListener("change", () => changed(field.value));
  const node = el("div", { class: isWide ? "field stacked" : "field" }, el("label", { for: id }, label), field);
  return { node, field, fill, get value() { return field.value; }, set value(next) { field.value = next; } };
}

export function box(label, checked, changed = () => {}, id = fresh("b")) {
  const field = el("input", { type: "checkbox", id, checked });
  field.addEventListener("change", () => changed(field.checked));
  return { node: el("div", { class: "field tick" }, field, el("label", { for: id }, label)), get value() { return field.checked; }, set value(next) { field.checked = next; } };
}

export const button = (label, pressed, props = {}) => el("button", { type: "button", onclick: pressed, ...props }, label);

export const group = (title, ...children) => el("fieldset", {}, el("legend", {}, title), ...children);

/** Which style slots: a tick for each, and their names. */
export function layers(model, chosen, changed) {
  const row = el("div", { class: "slots" });
  const boxes = Array.from({ length: model.num_ws }, (_, i) => {
    const size = model.slots[i] ? ` ${model.slots[i]}²` : "";
    const tick = el("input", { type: "checkbox", id: fresh("slot"), checked: chosen.includes(i), onchange: () => changed() });
    row.append(el("label", { class: "slot", title: `layer ${i}${size}` }, tick, el("span", {}, String(i))));
    return tick;
  });
  const set = (some) => boxes.forEach((tick, i) => { tick.checked = some.includes(i); });
  const names = Object.entries(model.groups).filter(([, some]) => some.length).map(([name, some]) =>
    button(name, () => { set(some); changed(); }, { class: "quiet small" }));
  const node = el("div", { class: "layers" }, el("div", { class: "row" }, ...names, button("none", () => { set([]); changed(); }, { class: "quiet small" })), row);
  return { node, set, get value() { return boxes.flatMap((tick, i) => (tick.checked ? [i] : [])); } };
}

/** Say something at the top of the page, for people who see it and who hear it. */
export function say(words, isError = false) {
  const status = document.getElementById("status");
  status.textContent = words;
  status.classList.toggle("bad", isError);
}

export const fail = (error) => say(error.message || String(error), true);

/** Where a picture is shown: the canvas, what it is, and what can be done with it. */
export function stage(label, { actions = [], name = () => "picture", wish = null } = {}) {
  const canvas = el("canvas", { width: 1, height: 1, role: "img", "aria-label": label });
  const cells = el("div", { class: "cells" });
  const mat = el("div", { class: "mat" }, el("div", { class: "print" }, canvas, cells));
  const caption = el("figcaption", {}, " ");
  const shown = { command: "", kind: "", wish: null };
  const take = async () => {
    const { kind, wish: asked } = wish ? wish() : shown;
    if (!asked) return say("there is no picture yet", true);
    say("packing…");
    await download(kind, asked, `${name()}.zip`).then(() => say("saved: the picture, its styles and its command"), fail);
  };
  const copy = async () => {
    await navigator.clipboard.writeText(shown.command).then(() => say("the command is in the clipboard"), () => say(shown.command));
  };
  const tools = el("div", { class: "row tools" }, ...actions, button("Download", take, { class: "do-download", title: "picture, styles (.npz) and command" }), button("Copy command", copy, { class: "quiet do-copy" }));
  const node = el("figure", { class: "stage" }, mat, el("div", { class: "under" }, caption, tools));

  const show = (bitmap, about = {}, words = "", asked = null) => {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const [rows, columns] = about.grid || [1, 1];
    node.classList.toggle("fine", Math.max(bitmap.width / columns, bitmap.height / rows) > 128);
    mat.style.setProperty("--ratio", bitmap.width / bitmap.height);
    caption.textContent = words || " ";
    if (about.command) shown.command = about.command;
    if (asked) Object.assign(shown, asked);
    node.classList.remove("waiting");
  };
  /** Lay buttons over a grid; `press(row, column)`, `title(row, column)` or '' for a cell that is none. */
  const grid = (rows, columns, press, title) => {
    cells.style.setProperty("--columns", columns);
    cells.replaceChildren(...Array.from({ length: rows * columns }, (_, i) => {
      const [r, c] = [Math.floor(i / columns), i % columns];
      const words = title(r, c);
      return words ? button("", () => press(r, c), { class: "cell", "aria-label": words, title: words }) : el("span");
    }));
  };
  return { node, canvas, mat, caption, shown, show, grid, clear: () => cells.replaceChildren() };
}

/** A part of a canvas as a small picture. */
export function thumbnail(canvas, row = 0, column = 0, rows = 1, columns = 1) {
  const [w, h] = [canvas.width / columns, canvas.height / rows];
  const small = el("canvas", { width: Math.min(96, w), height: Math.max(1, Math.round((Math.min(96, w) * h) / w)) });
  const context = small.getContext("2d");
  context.imageSmoothingEnabled = w > 96;
  context.drawImage(canvas, column * w, row * h, w, h, 0, 0, small.width, small.height);
  return small.toDataURL("image/png");
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A long job: a bar, a button that cancels it, previews on the way. */
export function job(kind, { preview = () => {}, done = () => {} } = {}) {
  const bar = el("progress", { max: 1, value: 0, "aria-label": "progress" });
  const words = el("p", { class: "hint", role: "status" }, "");
  const stop = button("Cancel", () => running && send(`/api/job/${running}`, { method: "DELETE" }).catch(fail), { class: "quiet do-cancel" });
  const node = el("div", { class: "job", hidden: true }, bar, el("div", { class: "row" }, words, stop));
  let running = "";

  async function start(wish) {
    if (running) return say("wait for what is running, or cancel it", true);
    let told;
    try {
      told = await (await post("/api/job", { kind, wish })).json();
    } catch (error) {
      return fail(error);
    }
    running = told.id;
    node.hidden = false;
    stop.hidden = false;
    let seen = 0;
    try {
      while (told.state === "waiting" || told.state === "running") {
        await wait(300);
        told = await json(`/api/job/${running}`);
        bar.max = told.steps || 1;
        bar.value = told.step;
        const left = told.step ? (told.seconds / told.step) * (told.steps - told.step) : 0;
        if (told.state === "waiting") words.textContent = `waiting: ${told.ahead} before this`;
        else words.textContent = told.step ? `${told.step} of ${told.steps}, ${Math.ceil(left)} s left` : "getting ready: the first time compiles";
        if (told.preview > seen) {
          seen = told.preview;
          const reply = await send(`/api/job/${running}/preview`);
          preview(await createImageBitmap(await reply.blob()), told);
        }
      }
      if (told.state === "done") await done(told.result, told);
      if (told.state === "failed") say(told.error, true);
      words.textContent = told.state === "done" ? `done in ${told.seconds} s` : told.state;
    } catch (error) {
      fail(error);
    }
    running = "";
    stop.hidden = true;
    window.jobs = (window.jobs || 0) + 1;
    window.lastJob = told;
  }
  return { node, start, get running() { return Boolean(running); } };
}

/** Save a file that a job has made. */
export async function keep(file) {
  const reply = await send(`/api/file/${file}`);
  save(await reply.blob(), file);
}

/** A page of two columns: what is shown, and what it is made with. */
export function page(title, lead, left, right) {
  return el("section", { class: "page" }, el("div", { class: "look" }, el("h1", {}, title), lead ? el("p", { class: "lead" }, lead) : null, ...left), el("form", { class: "controls", onsubmit: (event) => event.preventDefault(), "aria-label": `${title}: controls` }, ...right));
}

/** A button that plays: `advance` gets the seconds since the screen's last frame; `begin` is called before the first. */
export function player(label, props, advance, begin = () => {}) {
  let playing = 0;
  const node = button(label, () => (playing ? stop() : go()), { "aria-pressed": "false", ...props });
  function go() {
    node.setAttribute("aria-pressed", "true");
    begin();
    let before = performance.now();
    const step = (now) => {
      advance((now - before) / 1000);
      before = now;
      playing = requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
  }
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    node.setAttribute("aria-pressed", "false");
  }
  return { node, stop };
}

/** Show the film that a job has made, with buttons that save it alone, and with its latents and command. */
export async function showFile(screen, result, words, id) {
  const blob = await (await send(`/api/file/${result.file}`)).blob();
  const address = URL.createObjectURL(blob);
  const shown = result.file.endsWith("mp4") ? el("video", { src: address, controls: true, loop: true, muted: true, "aria-label": words }) : el("img", { src: address, alt: words });
  screen.replaceChildren(shown, el("div", { class: "row" },
    button(`Save ${result.file}`, () => keep(result.file).catch(fail), { class: "primary", id }),
    button("Save with latents and command", () => keep(result.zip).catch(fail), { class: "quiet", id: `${id}-zip` })));
  say(`${result.frames} frames, ${result.seconds.toFixed(1)} s`);
}
