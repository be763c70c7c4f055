// What all pages share: the picture that is being worked on, and the favourites.

import { model } from "./api.js";
import { button, choice, el, say, thumbnail } from "./kit.js";

export const bench = { source: { kind: "seed", seed: 0, psi: 0.7 }, words: "seed 0", thumb: "", favourites: [], found: false, tuned: false };
const listeners = new Set();

/** The class of the picture that is being worked on, if it is a seed's. */
export const classOf = () => bench.source.class ?? 0;

/** The name of a class, or its number if the model has no names. */
export const className = (i) => model.label_names[i] ?? String(i);
/** The classes of the model, to choose from. */
export const classes = () => Array.from({ length: model.label_dim }, (_, i) => [i, className(i)]);

/** Call a function whenever the picture or the favourites change. */
export const watch = (listener) => listeners.add(listener);
export const tell = () => listeners.forEach((listener) => listener());

/** Work on another picture. */
export function take(source, words, thumb = "") {
  Object.assign(bench, { source, words, thumb });
  tell();
}

/** Open a page, also where it is open already. */
export function openPage(name) {
  if (location.hash === `#${name}`) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = `#${name}`;
}

/** The pictures that a page can start from: [key, words, source]. */
export function sources() {
  const all = [["bench", `Explore: ${bench.words}`, bench.source]];
  bench.favourites.forEach((one, i) => all.push([`favourite-${i}`, `favourite ${i + 1}: ${one.words}`, one.source]));
  if (bench.found) all.push(["found", "your picture, as it was found", { kind: "found" }]);
  if (bench.tuned) all.push(["tuned", "your picture, by the tuned model", { kind: "tuned" }]);
  return all;
}

/** A list of the pictures that a page can start from; `changed(source, words)`. */
export function starter(changed) {
  const pairs = () => sources().map(([key, words]) => [key, words]);
  const found = () => sources().find(([key]) => key === list.value) || sources()[0];
  const list = choice("Start from", pairs(), "bench", () => changed(), undefined, true);
  watch(() => list.fill(pairs()));
  return { node: list.node, list, get source() { return found()[2]; }, get words() { return found()[1]; } };
}

export function keep(source, words, thumb) {
  bench.favourites.push({ source: structuredClone(source), words, thumb });
  say(`kept as favourite ${bench.favourites.length}`);
  showShelf();
  tell();
}

/** The button that keeps what a stage shows. */
export function star(current) {
  return button("☆ Keep", () => {
    const { source, words, canvas } = current();
    if (source) keep(source, words, thumbnail(canvas));
    else say("choose one of the pictures first", true);
  }, { class: "do-keep", title: "keep it among the favourites" });
}

export function showShelf() {
  const list = document.getElementById("favourites");
  document.getElementById("no-favourites").hidden = bench.favourites.length > 0;
  list.replaceChildren(...bench.favourites.map((one, i) => el("li", {},
    button("", () => { take(one.source, one.words, one.thumb); openPage("explore"); }, { class: "thumb", "aria-label": `open favourite ${i + 1}: ${one.words}`, title: one.words }),
    button("×", () => { bench.favourites.splice(i, 1); showShelf(); tell(); }, { class: "drop", "aria-label": `remove favourite ${i + 1}` }))));
  list.querySelectorAll(".thumb").forEach((node, i) => node.append(el("img", { src: bench.favourites[i].thumb, alt: "" })));
}
