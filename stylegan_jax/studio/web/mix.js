// Mix: coarse layers of some pictures, fine layers of others.

import { Lane, model } from "./api.js";
import { bench, classes, classOf, openPage, take } from "./bench.js";
import { button, choice, el, fail, group, layers, page, slider, stage, text, thumbnail } from "./kit.js";

export function build() {
  const lane = new Lane("mix");
  let typed = false, followed = "";
  const rows = text("Rows: seeds that keep the other layers", { id: "rows", value: "0-3", hint: "such as 0-3 or 1,5,9" }, () => { typed = true; ask(); });
  const columns = text("Columns: seeds whose layers are taken", { id: "columns", value: "8-12" }, ask);
  const chosen = layers(model, model.groups.coarse.length ? model.groups.coarse : [0], ask);
  const psi = slider("Truncation ψ", { id: "mix-psi", min: -1, max: 1.5, step: 0.05, value: 0.7 }, ask);
  const byClass = model.label_dim > 0 && model.label_kind === "classes";
  const label = byClass ? choice("Class", classes(), 0, ask, "mix-class") : null;
  const one = stage("A grid of mixtures", { name: () => "mixtures" });

  function common() {
    const own = { psi: psi.value };
    if (label) own.class = Number(label.value);
    else if (model.label_dim) own.numbers = Array(model.label_dim).fill(0);
    return own;
  }

  function ask() {
    const own = common();
    const wish = { ...own, rows: rows.value, columns: columns.value, layers: chosen.value };
    lane.ask("mix", wish, (bitmap, about, ms) => {
      const said = wish.layers.length ? `layers ${wish.layers.join(", ")} come from the columns` : "no layer is exchanged";
      one.show(bitmap, about, `${said} · ${Math.round(ms)} ms`, { kind: "mix", wish });
      const seedOf = (seed) => ({ kind: "seed", seed, ...own });
      const [r, c] = about.grid;
      const title = (i, j) => {
        if (!i && !j) return "";
        if (!i) return `seed ${about.columns[j - 1]}`;
        return j ? `seed ${about.rows[i - 1]} with layers of seed ${about.columns[j - 1]}` : `seed ${about.rows[i - 1]}`;
      };
      one.grid(r, c, (i, j) => {
        const row = i && seedOf(about.rows[i - 1]), column = j && seedOf(about.columns[j - 1]);
        const source = row && column ? { kind: "mix", row, column, layers: wish.layers } : row || column;
        take(source, title(i, j), thumbnail(one.canvas, i, j, r, c));
        openPage("explore");
      }, title);
    }, fail);
  }

  const swap = button("Swap rows and columns", () => { [rows.value, columns.value] = [columns.value, rows.value]; ask(); }, { class: "quiet small" });
  const node = page("Mix", "Each picture has the styles of its row, except in the chosen layers, which come from its column: coarse layers carry pose and shape, fine ones colour and detail. Choose one to work on it.", [one.node], [
    group("Layers of the columns", chosen.node),
    group("Seeds", rows.node, columns.node, el("div", { class: "row" }, swap)),
    group("Truncation", psi.node),
    label ? group("Class", label.node) : null,
  ].filter(Boolean));
  /** Begin with the picture of Explore, its class and truncation, unless the rows were chosen here. */
  function enter() {
    const own = bench.source, now = JSON.stringify(own);
    if (own.kind === "seed" && now !== followed) {
      followed = now;
      if (!typed) rows.value = [own.seed, ...[0, 1, 2, 3].filter((seed) => seed !== own.seed)].slice(0, 4).join(",");
      psi.value = own.psi ?? 1;
      if (label) label.value = classOf();
    }
    ask();
  }
  return { node, enter };
}
