// The relay alone: for each transport that this server offers, whether an address of the relay is had, and then a call of the
// browser with itself through it, with what was lost, the round trip and the protocol. No camera is needed.

import { $, explain, make, place } from "./dom.js";
import { relayProtocolOf } from "./path.js";
import { gather, relayOnly, serversFor } from "./relay.js";
import { Signalling, makeRoom } from "./signalling.js";
import { look } from "./stats.js";

const GATHER_MS = 12000;
const CONNECT_MS = 12000;
const TALK_MS = 5000;
const EVERY_MS = 20;
const BYTES = 500;
const WAYS = { udp: "UDP", tcp: "TCP", tls: "TLS" };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(what)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Credentials are for members of a room: it is in one of its own for a moment.
async function fetchServers() {
  const { room } = await makeRoom();
  let signalling;
  try {
    await within(
      5000,
      "The signalling server doesn't answer.",
      new Promise((resolve, reject) => {
        const nothing = () => {};
        const refused = (text) => reject(new Error(text));
        signalling = new Signalling({ joined: resolve, partner: nothing, signal: nothing, state: nothing, refused });
        signalling.join(room);
      }),
    );
    return await signalling.servers();
  } finally {
    signalling?.leave();
  }
}

// A picture that moves, which needs no permission.
function movingPicture() {
  const canvas = make("canvas", { width: 160, height: 120 });
  const pen = canvas.getContext("2d");
  let turn = 0;
  const drawing = setInterval(() => {
    pen.fillStyle = `hsl(${(turn += 5) % 360} 60% 50%)`;
    pen.fillRect(0, 0, 160, 120);
  }, 66);
  return { stream: canvas.captureStream(15), stop: () => clearInterval(drawing) };
}

async function callItself(iceServers, errors, progress) {
  const [a, b] = [relayOnly(iceServers, errors), relayOnly(iceServers, errors)];
  const picture = movingPicture();
  try {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ]) {
      one.onicecandidate = ({ candidate }) => candidate && other.addIceCandidate(candidate).catch(() => {});
    }
    a.addTrack(picture.stream.getTracks()[0], picture.stream);
    b.ontrack = ({ streams }) => ($("check-video").srcObject = streams[0]);
    const lossy = { negotiated: true, id: 0, ordered: false, maxRetransmits: 0 };
    const [ours, theirs] = [a.createDataChannel("check", lossy), b.createDataChannel("check", lossy)];
    theirs.onmessage = ({ data }) => theirs.readyState === "open" && theirs.send(data);
    const open = new Promise((resolve) => (ours.onopen = resolve));
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription);
    await within(CONNECT_MS, "The relay gave addresses, but nothing came through it.", open);
    const trips = [];
    let sent = 0;
    ours.onmessage = ({ data }) => trips.push(performance.now() - Number(data.split(" ")[0]));
    const until = performance.now() + TALK_MS;
    while (performance.now() < until) {
      ours.send(`${performance.now()} `.padEnd(BYTES, "."));
      sent++;
      progress(1 - (until - performance.now()) / TALK_MS);
      await sleep(EVERY_MS);
    }
    await sleep(500);
    const stats = await look(a);
    const { frames } = await look(b);
    trips.sort((x, y) => x - y);
    return { sent, back: trips.length, median: trips[trips.length >> 1], worst: trips.at(-1), frames, local: stats.local };
  } finally {
    picture.stop();
    picture.stream.getTracks()[0].stop();
    a.close();
    b.close();
  }
}

function card(name) {
  const badge = make("span", { classes: "tag trying", text: "…" });
  const list = make("ul", { classes: "facts" });
  const bar = make("progress", { max: 1, value: 0 });
  const box = make("section", { classes: "way" }, make("h3", { text: `By ${name} ` }, badge), bar, list);
  $("check-ways").append(box);
  return {
    say: (text, small = "") => list.append(make("li", {}, make("span", { text }), make("small", { text: small }))),
    progress: (value) => (bar.value = value),
    end: (text, classes) => {
      badge.textContent = text;
      badge.className = `tag ${classes}`;
      bar.remove();
    },
  };
}

async function checkWay(way, servers) {
  const view = card(WAYS[way]);
  const chosen = serversFor(servers, way);
  const result = { way, ok: false, errors: [] };
  if (!chosen.length) {
    view.say(way === "tls" ? "Not offered here: it needs a certificate." : "Not offered here.");
    view.end("not offered", "found");
    return { ...result, offered: false };
  }
  try {
    const found = await gather(chosen, { ms: GATHER_MS, errors: result.errors });
    if (found.length) {
      const what = found.length === 1 ? "an address" : `${found.length} addresses`;
      view.say(`The relay gave ${what} after ${Math.round(found[0].after)} ms`, found.map(place).join(" "));
    } else {
      throw new Error("No address of the relay was had.");
    }
    const call = await callItself(chosen, result.errors, view.progress);
    const lost = call.sent - call.back;
    const relayProtocol = relayProtocolOf(call.local);
    Object.assign(result, call, { lost, relayProtocol, ok: call.back > 0 && call.frames > 0 });
    view.say(`${call.sent} packets there and back, ${lost} lost (${((100 * lost) / call.sent).toFixed(1)} %)`);
    view.say(`Round trip ${call.median.toFixed(1)} ms, at worst ${call.worst.toFixed(1)} ms`);
    view.say(`${call.frames} pictures seen, through the relay by ${relayProtocol}`);
    view.end(result.ok ? "works" : "half works", result.ok ? "in-use" : "trying");
  } catch (error) {
    view.say(error.message);
    for (const one of result.errors.slice(0, 5)) view.say(`${one.code}: ${explain(one)}`, one.url);
    view.end("doesn't work", "no-answer");
  }
  return result;
}

// One after the other, so that they don't take the bandwidth from each other. Gives what was found, for tests and tools.
export async function check() {
  $("check-ways").replaceChildren();
  $("check-state").textContent = "Asking for credentials …";
  try {
    const servers = await fetchServers();
    const results = [];
    for (const way of Object.keys(WAYS)) {
      $("check-state").textContent = `Trying ${WAYS[way]} …`;
      results.push(await checkWay(way, servers));
    }
    const offered = results.filter((one) => one.offered !== false);
    const bad = offered.filter((one) => !one.ok).map((one) => WAYS[one.way]);
    $("check-state").textContent = bad.length ? `Doesn't work by ${bad.join(", ")}.` : "The relay works in every way that it offers.";
    return results;
  } catch (error) {
    $("check-state").textContent = `The check couldn't begin: ${error.message}`;
    return [];
  }
}
