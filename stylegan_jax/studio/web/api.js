// How the page talks to its studio: a token, a session, and lanes in which the newest wish wins.

const KEY = "studio-token";

/** Read or write what a browser keeps; one that keeps nothing for a page in another's frame says so by an error. */
export function stored(store, key, value) {
  try {
    if (value !== undefined) window[store].setItem(key, value);
    return window[store].getItem(key) || "";
  } catch {
    return "";
  }
}

let token = stored("sessionStorage", KEY);
let session = "";
export let model = null;
window.done = 0; // what has been shown, and the last of it: tests wait for these, never for time
window.last = null;

/** Take the token out of the address, so that it is not bookmarked or copied with a link to a picture. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  token = given;
  stored("sessionStorage", KEY, token);
  history.replaceState(null, "", location.pathname + "#explore");
}

/** Paths begin with "/" but count from where the page is, which a proxy may have moved into a folder of its own. */
async function request(path, { method = "GET", body, keepalive } = {}) {
  const headers = { "X-Studio-Token": token, "X-Studio-Session": session };
  return fetch(path.slice(1), { method, body, headers, keepalive, cache: "no-store" });
}

/** Send a request; an answer that is an error becomes an Error with its sentence. */
export async function send(path, options = {}) {
  let reply = await request(path, options);
  if (reply.status === 410 && path !== "/api/session") {
    await open(); // the page slept for long: its uploads are gone, its pictures can be drawn again
    reply = await request(path, options);
  }
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const error = new Error(told.error || `the studio answered with ${reply.status}`);
  error.stale = Boolean(told.stale);
  throw error;
}

export const post = (path, content) => send(path, { method: "POST", body: JSON.stringify(content) });
export const json = async (path) => (await send(path)).json();

export async function open() {
  const reply = await send("/api/session", { method: "POST" });
  const told = await reply.json();
  session = told.session;
  model = told.model;
  return model;
}

export async function reload() {
  const reply = await post("/api/reload", { number: Date.now() });
  model = (await reply.json()).model;
  return model;
}

addEventListener("pagehide", () => {
  if (session) request("/api/session", { method: "DELETE", keepalive: true });
});

export async function alive() {
  return (await post("/api/alive", {})).json();
}

/** What the studio says about an answer that is a picture. */
export const about = (reply) => JSON.parse(reply.headers.get("X-Studio-About") || "{}");

/** A view with one wish under way; of those that come meanwhile only the last is sent. */
export class Lane {
  constructor(name) {
    this.name = name;
    this.number = 0;
    this.next = null;
    this.busy = false;
  }

  /** Wish something; `show(answer, about, milliseconds)` gets a bitmap, or the object that was answered. */
  ask(kind, wish, show, fail = () => {}) {
    this.next = { kind, wish, show, fail };
    return this.pump();
  }

  async pump() {
    if (this.busy || !this.next) return;
    const { kind, wish, show, fail } = this.next;
    this.next = null;
    this.busy = true;
    const start = performance.now();
    try {
      const reply = await post("/api/ask", { kind, wish, lane: this.name, number: this.number++ });
      if (reply.headers.get("Content-Type") === "image/png") {
        const blob = await reply.blob();
        show(await createImageBitmap(blob), about(reply), performance.now() - start);
      } else {
        show(await reply.json(), {}, performance.now() - start);
      }
      window.done += 1;
      window.last = { kind, wish };
    } catch (error) {
      if (!error.stale) fail(error);
    }
    this.busy = false;
    this.pump();
  }
}

/** Save a blob as a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  window.saved = { name, size: blob.size };
}

let downloads = 0;
export async function download(kind, wish, name) {
  const reply = await post("/api/download", { kind, wish, number: downloads++ });
  save(await reply.blob(), name);
}
