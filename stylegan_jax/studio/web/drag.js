// Drag: points of the picture to where they are to be; a brush says what may change.

import { Lane, about as facts, model, post } from "./api.js";
import { openPage, star, starter, take } from "./bench.js";
import { box, button, el, fail, group, job, page, say, slider, stage, text, thumbnail } from "./kit.js";

export function build() {
  const lane = new Lane("drag");
  const start = starter(() => restart());
  let points = [], strokes = [], tool = "points", held = null, history = [], path = [], command = "";
  const over = el("canvas", { width: 1, height: 1, class: "marks", id: "marks", role: "img", "aria-label": "Points and brush" });
  const one = stage("The picture that is dragged", {
    name: () => "dragged",
    wish: () => ({ kind: "picture", wish: { source: current() } }),
    actions: [
      star(() => ({ source: current(), words: words(), canvas: one.canvas })),
      button("Work on it", () => { take(current(), words(), thumbnail(one.canvas)); openPage("explore"); }, { class: "quiet" }),
    ],
  });
  one.canvas.after(over);
  const current = () => (history.length ? history[history.length - 1].source : start.source);
  const words = () => (history.length ? `dragged, ${history.length}` : start.words);

  const list = text("Points", { id: "points", hint: "x,y > x,y in pixels, with ; between points. Or press on the picture and pull." }, (value) => {
    points = value.split(";").map((part) => part.split(/[\s,>]+/).filter(Boolean).map(Number)).filter((four) => four.length === 4 && four.every(Number.isFinite));
    show();
  });
  const steps = slider("Steps at most", { id: "drag-steps", min: 10, max: 500, step: 10, value: 200 });
  const rate = slider("Strength of a step", { id: "rate", min: 0.0005, max: 0.02, step: 0.0005, value: model.drag.rate, hint: "0.002 as published; small models take more" });
  const radius = slider("Radius", { id: "radius", min: 1, max: Math.max(8, Math.round(model.height / 16)), step: 0.5, value: model.drag.radius, hint: "of what is pulled along, in pixels: more moves the object, less a part of it" });
  const plus = box("Each layer separately (W+)", true, () => {}, "drag-plus");
  const brush = slider("Brush", { id: "brush", min: 1, max: Math.max(4, Math.round(model.height / 4)), step: 0.5, value: Math.max(2, model.height / 10) });

  const place = (event) => {
    const frame = one.canvas.getBoundingClientRect();
    const at = (share, size) => Math.min(size - 1, Math.max(0, Math.round((share * size - 0.5) * 10) / 10));
    return [at((event.clientX - frame.left) / frame.width, model.width), at((event.clientY - frame.top) / frame.height, model.height)];
  };
  one.mat.addEventListener("pointerdown", (event) => {
    if (dragging.running || event.button) return;
    one.mat.setPointerCapture(event.pointerId);
    const [x, y] = place(event);
    if (tool === "brush") strokes.push([x, y, brush.value]);
    else {
      const reach = model.width / 40;
      const near = points.findIndex((point) => Math.hypot(point[2] - x, point[3] - y) < reach);
      if (near < 0) points.push([Math.round(x), Math.round(y), x, y]);
      held = near < 0 ? points.length - 1 : near;
    }
    show();
  });
  one.mat.addEventListener("pointermove", (event) => {
    if (!one.mat.hasPointerCapture(event.pointerId)) return;
    const [x, y] = place(event);
    if (tool === "brush") strokes.push([x, y, brush.value]);
    else if (held !== null) points[held].splice(2, 2, x, y);
    show();
  });
  one.mat.addEventListener("pointerup", () => { held = null; });

  /** Draw handles, targets, the way so far and the mask over the picture. */
  function show() {
    list.value = points.map(([a, b, c, d]) => `${a},${b} > ${c},${d}`).join("; ");
    const zoom = Math.max(1, Math.round(640 / model.width));
    over.width = model.width * zoom;
    over.height = model.height * zoom;
    const context = over.getContext("2d");
    const at = (x) => (x + 0.5) * zoom;
    if (strokes.length) {
      context.fillStyle = "#000b";
      context.fillRect(0, 0, over.width, over.height);
      context.globalCompositeOperation = "destination-out";
      for (const [x, y, r] of strokes) { context.beginPath(); context.arc(at(x), at(y), r * zoom, 0, 7); context.fill(); }
      context.globalCompositeOperation = "source-over";
    }
    context.lineWidth = 2.5;
    context.strokeStyle = "#fff";
    for (const way of path) { context.beginPath(); way.forEach(([x, y]) => context.lineTo(at(x), at(y))); context.stroke(); }
    for (const [a, b, c, d] of points) {
      context.strokeStyle = "#fff";
      context.beginPath(); context.moveTo(at(a), at(b)); context.lineTo(at(c), at(d)); context.stroke();
      dot(context, at(a), at(b), "#ff4a2a");
      dot(context, at(c), at(d), "#2a7bff");
    }
    go.disabled = !points.some(([a, b, c, d]) => Math.hypot(a - c, b - d) > 0.5);
  }
  function dot(context, x, y, colour) {
    context.fillStyle = colour;
    context.strokeStyle = "#fff";
    context.beginPath(); context.arc(x, y, 8, 0, 7); context.fill(); context.stroke();
  }

  function draw() {
    const wish = { source: current() };
    lane.ask("picture", wish, (bitmap, about, ms) => {
      one.show(bitmap, about, `${words()} · ${Math.round(ms)} ms`, { kind: "picture", wish });
      if (command) one.shown.command = command;
      show();
    }, fail);
  }
  function restart() {
    history = [];
    points = [];
    path = [];
    command = "";
    draw();
  }

  const dragging = job("drag", {
    preview: (bitmap, told) => {
      const now = told.about.points || [];
      now.forEach(([x, y], i) => { if (points[i]) { points[i].splice(0, 2, x, y); path[i]?.push([x, y]); } });
      one.show(bitmap, {}, `step ${told.step}, ${told.loss === null ? "?" : told.loss.toFixed(1)} pixels to go`);
      show();
    },
    done: async (result) => {
      history.push({ source: { kind: "dragged", index: result.index }, points: points.map((point) => [...point]) });
      command = result.command;
      path = points.map((_, i) => result.path.filter((_, at) => at % result.count === i));
      result.points.forEach(([x, y], i) => points[i]?.splice(0, 2, x, y));
      const far = Math.max(...result.distances).toFixed(1);
      say(result.is_done ? `arrived after ${result.steps} steps` : `${far} pixels away after ${result.steps} steps`);
      const reply = await post("/api/ask", { kind: "picture", wish: { source: current() }, lane: "dragged", number: Date.now() });
      one.show(await createImageBitmap(await reply.blob()), facts(reply), `${result.steps} steps, ${far} pixels away`);
      one.shown.command = command;
      undo.disabled = false;
      show();
    },
  });
  const go = button("Drag", () => {
    path = points.map(([a, b]) => [[a, b]]);
    dragging.start({ source: current(), points, mask: strokes, steps: steps.value, rate: rate.value, radius: radius.value, plus: plus.value });
  }, { class: "primary", id: "start-drag", disabled: true });
  const undo = button("Undo", () => {
    history.pop();
    undo.disabled = !history.length;
    path = [];
    command = "";
    draw();
  }, { class: "quiet", id: "undo", disabled: true });
  const clear = button("Clear points", () => { points = []; path = []; show(); }, { class: "quiet small", id: "clear-points" });
  const noMask = button("Clear the brush", () => { strokes = []; show(); }, { class: "quiet small" });
  const tools = [["points", "Points"], ["brush", "Brush: what may change"]].map(([name, label]) => button(label, () => {
    tool = name;
    tools.forEach((other) => other.setAttribute("aria-pressed", String(other.id === `tool-${name}`)));
  }, { class: "tab", id: `tool-${name}`, "aria-pressed": String(name === tool) }));

  const node = page("Drag", "Press on a point of the picture and pull it to where it should be. Red is where a point is, blue where it goes. Without the brush, everything may change.", [el("div", { class: "row" }, ...tools), one.node], [
    group("Picture", start.node),
    group("Points", list.node, el("div", { class: "row" }, clear)),
    group("Drag", steps.node, rate.node, radius.node, plus.node, el("div", { class: "row" }, go, undo), dragging.node),
    group("Brush", brush.node, el("div", { class: "row" }, noMask)),
  ]);
  return { node, enter: draw };
}
