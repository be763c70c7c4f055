// Your picture: upload, crop, find its styles, tune the model to it, compare.

import { about as facts, model, post, send } from "./api.js";
import { bench, classes, keep, openPage, take, tell } from "./bench.js";
import { box, button, choice, el, fail, group, job, keep as keepFile, page, say, slider, stage, text, thumbnail } from "./kit.js";

export function build() {
  const file = el("input", { type: "file", id: "upload", accept: "image/*", onchange: () => file.files[0] && upload(file.files[0]) });
  const whole = el("canvas", { width: 1, height: 1, id: "whole", role: "img", "aria-label": "Your picture, with the part to project" });
  let bitmap = null, turn = 0;
  const crop = { x: slider("Left to right", { id: "crop-x", min: 0, max: 1, step: 0.01, value: 0.5 }, cut), y: slider("Top to bottom", { id: "crop-y", min: 0, max: 1, step: 0.01, value: 0.5 }, cut), size: slider("Size", { id: "crop-size", min: 0.1, max: 1, step: 0.01, value: 1 }, cut) };
  const steps = choice("Steps", [[100, "100: a first look"], [300, "300"], [1000, "1000, as published"]], 300, () => {}, "steps", true);
  const plus = box("A style per layer (W+): closer, harder to edit", false, () => {}, "plus");
  const byClass = model.label_dim > 0 && model.label_kind === "classes";
  const label = byClass ? choice("Class", classes(), 0, () => {}, "picture-class") : text("Label", { value: Array(model.label_dim).fill(0).join(",") });
  const tuneSteps = choice("Steps", [[100, "100"], [350, "350, as published"]], 100, () => {}, "tune-steps", true);

  // The two pictures lie one over the other; the slider says how much is seen of the upper one.
  const target = el("canvas", { width: 1, height: 1, class: "over", id: "target", role: "img", "aria-label": "The target" });
  const one = stage("What the model draws", {
    name: () => (bench.tuned ? "tuned" : "found"),
    wish: () => ({ kind: "picture", wish: bench.found ? { source: { kind: bench.tuned ? "tuned" : "found" } } : null }),
    actions: [
      button("☆ Keep", () => bench.found && keep({ kind: bench.tuned ? "tuned" : "found" }, "your picture", thumbnail(one.canvas)), { class: "do-keep" }),
      button("Edit it", () => { if (bench.found) { take({ kind: bench.tuned ? "tuned" : "found" }, "your picture", thumbnail(one.canvas)); openPage("edit"); } }, { class: "quiet", id: "edit-it" }),
    ],
  });
  one.canvas.after(target);
  const part = slider("Compare: target over result", { id: "compare", min: 0, max: 100, step: 1, value: 50 }, (value) => one.mat.style.setProperty("--part", `${value}%`));
  one.mat.style.setProperty("--part", "50%");

  async function upload(given) {
    try {
      say("reading the picture…");
      const reply = await send("/api/upload", { method: "POST", body: given });
      const told = facts(reply);
      bitmap = await createImageBitmap(await reply.blob());
      say(`${told.width}×${told.height}${told.changes.length ? `, ${told.changes.join(", ")}` : ""}`);
      bench.found = bench.tuned = false;
      tell();
      await cut();
    } catch (error) {
      fail(error);
    }
    file.value = "";
  }

  async function cut() {
    if (!bitmap) return;
    outline();
    const mine = ++turn;
    try {
      const reply = await post("/api/crop", { x: crop.x.value, y: crop.y.value, size: crop.size.value });
      if (mine !== turn) return;
      const small = await createImageBitmap(await reply.blob());
      target.width = small.width;
      target.height = small.height;
      target.getContext("2d").drawImage(small, 0, 0);
      if (!bench.found) one.show(small, {}, "the part to project");
      ready();
      window.done += 1;
    } catch (error) {
      fail(error);
    }
  }

  function outline() {
    const scale = Math.min(1, 320 / bitmap.width, 240 / bitmap.height);
    whole.width = Math.max(1, Math.round(bitmap.width * scale));
    whole.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = whole.getContext("2d");
    const fit = Math.min(whole.width / model.width, whole.height / model.height) * crop.size.value;
    const [w, h] = [model.width * fit, model.height * fit];
    const [x, y] = [(whole.width - w) * crop.x.value, (whole.height - h) * crop.y.value];
    context.globalAlpha = 0.35;
    context.drawImage(bitmap, 0, 0, whole.width, whole.height);
    context.globalAlpha = 1;
    context.save();
    context.beginPath();
    context.rect(x, y, w, h);
    context.clip();
    context.drawImage(bitmap, 0, 0, whole.width, whole.height);
    context.restore();
    context.strokeStyle = "#ff6b4a";
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, Math.max(1, w - 2), Math.max(1, h - 2));
  }

  async function finish(result) {
    bench.found = true;
    bench.tuned = result.of === "tuned";
    const reply = await post("/api/ask", { kind: "picture", wish: { source: { kind: result.of } }, lane: "found", number: Date.now() });
    one.show(await createImageBitmap(await reply.blob()), facts(reply), `LPIPS ${result.start.toFixed(3)} → ${result.end.toFixed(3)}`);
    weights.hidden = !bench.tuned;
    tell();
    ready();
  }
  const preview = (small, told) => one.show(small, {}, `step ${told.step}, LPIPS ${told.loss === null ? "?" : told.loss.toFixed(3)}`);
  const own = () => (byClass ? { class: Number(label.value) } : model.label_dim ? { numbers: label.value.split(",").map(Number) } : {});
  const finding = job("project", { preview, done: finish }), encoding = job("encode", { preview, done: finish }), tuning = job("tune", { preview, done: finish });
  const find = button("Find it", () => {
    finding.start({ steps: Number(steps.value), plus: plus.value, ...own() });
  }, { class: "primary", id: "find", disabled: true });
  const encode = button("Use the encoder", () => encoding.start(own()), { id: "encode", disabled: true });
  const tune = button("Tune the model to it", () => tuning.start({ steps: Number(tuneSteps.value) }), { id: "tune", disabled: true });
  const weights = button("Download the tuned model", () => keepFile("tuned.zip").catch(fail), { class: "quiet", id: "tuned-model", hidden: true });
  function ready() {
    find.disabled = encode.disabled = !bitmap;
    tune.disabled = !bench.found;
  }

  const drop = el("div", { class: "drop-zone" }, el("label", { for: "upload" }, "Choose a picture, or drop it here"), file, whole);
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });

  const node = page("Your picture", "Find the styles that draw it, then edit them. What the model has never seen is reproduced badly; tuning changes the model until it draws this picture exactly.", [one.node, part.node], [
    group("1 · Picture", drop, crop.x.node, crop.y.node, crop.size.node),
    group("2 · Find its styles", steps.node, model.num_ws > 1 ? plus.node : null, model.label_dim ? label.node : null, el("div", { class: "row" }, find, model.has_encoder ? encode : null), finding.node, encoding.node),
    group("3 · Tune the model (optional)", tuneSteps.node, el("div", { class: "row" }, tune, weights), tuning.node),
  ]);
  return { node };
}
