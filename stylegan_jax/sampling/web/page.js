// A generator in the browser: onnx.json says what the model takes, map.onnx and synthesize.onnx draw.
// Everything is loaded from this folder; nothing is sent anywhere.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // threads need headers that many static hosts do not send
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const byId = (id) => document.getElementById(id);
const state = { wanted: null, busy: false, walk: null };
window.done = 0; // pictures drawn, and what was asked of the last: for tests
window.last = null;
let about, mapper, synthesizer;

/** Unit normals of a seed: those of numpy.random.RandomState(seed).randn, so that a seed is the same picture as in Python. */
export function latents(seed, count) {
  const mt = new Uint32Array(624);
  mt[0] = seed >>> 0;
  for (let i = 1; i < 624; i++) {
    const s = mt[i - 1] ^ (mt[i - 1] >>> 30);
    mt[i] = (Math.imul(1812433253, s) + i) >>> 0;
  }
  let at = 624;
  const next = () => {
    if (at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (mt[i] & 0x80000000) | (mt[(i + 1) % 624] & 0x7fffffff);
        mt[i] = mt[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = mt[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  const uniform = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) { // Marsaglia's polar method, the second of each pair first
    let a, b, r;
    do {
      a = 2 * uniform() - 1;
      b = 2 * uniform() - 1;
      r = a * a + b * b;
    } while (r >= 1 || r === 0);
    const f = Math.sqrt((-2 * Math.log(r)) / r);
    out[i] = f * b;
    if (i + 1 < count) out[i + 1] = f * a;
  }
  return out;
}

function label() {
  const k = about.label_dim;
  const out = new Float32Array(k);
  if (about.label_kind === "classes" || about.label_kind === "") out[Number(byId("class").value)] = 1;
  else byId("label").value.split(",").slice(0, k).forEach((text, i) => { out[i] = Number(text) || 0; });
  return out;
}

async function map(z, psi) {
  const inputs = {
    z: new ort.Tensor("float32", z, [1, about.z_dim]),
    psi: new ort.Tensor("float32", new Float32Array(about.num_ws).fill(psi), [about.num_ws]),
  };
  if (about.label_dim) inputs.label = new ort.Tensor("float32", label(), [1, about.label_dim]);
  return (await mapper.run(inputs)).ws.data;
}

/** Draw what was asked for last; what was asked for meanwhile replaces it, so that no queue builds up. */
async function draw() {
  if (state.busy || !state.wanted) return;
  state.busy = true;
  const asked = state.wanted;
  state.wanted = null;
  try {
    const start = performance.now();
    const ws = Float32Array.from(await map(asked.z, asked.psi));
    if (asked.slots.length) {
      const second = await map(latents(asked.second, about.z_dim), asked.psi);
      for (const slot of asked.slots) {
        const from = slot * about.w_dim;
        ws.set(second.subarray(from, from + about.w_dim), from);
      }
    }
    const given = { ws: new ort.Tensor("float32", ws, [1, about.num_ws, about.w_dim]) };
    show((await synthesizer.run(given)).image.data);
    byId("status").textContent = `${asked.text} · ${Math.round(performance.now() - start)} ms`;
    window.last = asked.text;
    window.done += 1;
  } catch (error) {
    byId("status").textContent = `error: ${error.message || error}`;
  }
  state.busy = false;
  draw();
}

function show(image) {
  const [height, width, channels] = about.image;
  const canvas = byId("picture");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 4; c++) {
      const from = channels < 3 ? 0 : c;
      const opaque = c === 3 && channels < 4;
      pixels.data[4 * i + c] = opaque ? 255 : Math.floor(image[i * channels + from] * 127.5 + 128); // clamped
    }
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function number(id) {
  const value = Math.floor(Number(byId(id).value));
  return Number.isFinite(value) && value >= 0 && value <= 4294967295 ? value : 0;
}

function ask(z = null, text = "") {
  const seed = number("seed"), second = number("second"), psi = Number(byId("psi").value);
  const slots = [...byId("slots").querySelectorAll("input:checked")].map((box) => Number(box.value));
  byId("psi-shown").value = psi;
  const mixed = slots.length ? ` mixed with ${second} in ${slots.join(",")}` : "";
  state.wanted = { z: z || latents(seed, about.z_dim), psi, second, slots, text: (text || `seed ${seed}, psi ${psi}`) + mixed };
  draw();
}

/** A step of a walk along great circles from one random latent to the next. */
function step(now) {
  const walk = state.walk;
  if (!walk) return;
  walk.t += (Number(byId("speed").value) * Math.min(now - walk.now, 200)) / 1000;
  walk.now = now;
  while (walk.t >= 1) Object.assign(walk, { t: walk.t - 1, from: walk.to, to: latents(randomSeed(), about.z_dim) });
  const length = (x) => Math.hypot(...x);
  const a = length(walk.from), b = length(walk.to);
  const dot = walk.from.reduce((sum, x, i) => sum + x * walk.to[i], 0);
  const angle = Math.acos(Math.min(Math.max(dot / (a * b), -1), 1)) || 1e-6;
  const left = Math.sin((1 - walk.t) * angle) / Math.sin(angle), right = Math.sin(walk.t * angle) / Math.sin(angle);
  if (!state.busy) ask(walk.from.map((x, i) => left * x + right * walk.to[i]), "walking");
  requestAnimationFrame(step);
}

const randomSeed = () => Math.floor(Math.random() * 4294967296);

function toggleWalk() {
  const button = byId("walk");
  if (state.walk) {
    state.walk = null;
    ask();
  } else {
    const from = latents(number("seed"), about.z_dim);
    state.walk = { from, to: latents(randomSeed(), about.z_dim), t: 0, now: performance.now() };
    requestAnimationFrame(step);
  }
  button.setAttribute("aria-pressed", String(Boolean(state.walk)));
  button.textContent = state.walk ? "Stop the walk" : "Start a random walk";
}

function save() {
  const link = document.createElement("a");
  link.download = `${about.name}-seed${number("seed")}.png`;
  link.href = byId("picture").toDataURL("image/png");
  link.click();
}

function prepare() {
  document.title = about.name;
  byId("name").textContent = about.name;
  const [height, width] = about.image;
  const licence = about.licence ? `, weights: ${about.licence}` : "";
  byId("about").textContent = `${about.architecture}, ${width}x${height}${licence}. It runs in this page; nothing is uploaded.`;
  const classes = about.label_dim && (about.label_kind === "classes" || about.label_kind === "");
  byId("class-row").hidden = !classes;
  byId("label-row").hidden = !about.label_dim || Boolean(classes);
  for (let i = 0; classes && i < about.label_dim; i++) byId("class").add(new Option(about.label_names[i] ?? String(i), String(i)));
  byId("mix").hidden = about.num_ws < 2; // one style cannot be mixed
  for (let i = 0; i < about.num_ws; i++) {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: String(i), id: `slot${i}` });
    const row = document.createElement("label");
    row.append(box, String(i));
    byId("slots").append(row);
  }
  byId("controls").addEventListener("input", () => ask());
  byId("walk").addEventListener("click", toggleWalk);
  byId("save").addEventListener("click", save);
  byId("random").addEventListener("click", () => {
    byId("seed").value = String(randomSeed());
    ask();
  });
}

async function load(name) {
  const bytes = await (await fetch(new URL(`./${name}.onnx`, import.meta.url))).arrayBuffer();
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

try {
  about = await (await fetch(new URL("./onnx.json", import.meta.url))).json();
  prepare();
  [mapper, synthesizer] = [await load("map"), await load("synthesize")];
  ask();
} catch (error) {
  byId("status").textContent = `the model could not be loaded: ${error.message || error}`;
}
