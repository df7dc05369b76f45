// The way that a call takes, for people: a sentence, a picture, what each side could have used and why it wasn't, and the last
// minute of rate, loss and round trip.

import { $, explain, make, place } from "./dom.js";
import { Plot } from "./plot.js";

const TYPES = {
  host: "own network",
  srflx: "through the router",
  prflx: "through the router, found on the way",
  relay: "through the relay",
};

// How the browser reaches the relay; the address that it was given says so where the browser doesn't.
export function relayProtocolOf(candidate) {
  const url = candidate?.url ?? "";
  const byUrl = url.startsWith("turns:") ? "tls" : /transport=(\w+)/.exec(url)?.[1] ?? "udp";
  return (candidate?.relayProtocol ?? byUrl).toUpperCase();
}

export class PathView {
  constructor() {
    this.rate = new Plot($("plot-rate"), {
      unit: "kbit/s",
      floor: 100,
      lines: [
        { name: "in", colour: "--in" },
        { name: "out", colour: "--out" },
      ],
    });
    this.loss = new Plot($("plot-loss"), { unit: "% lost", floor: 5, lines: [{ name: "in", colour: "--bad" }] });
    this.roundTrip = new Plot($("plot-rtt"), { unit: "ms", floor: 50, lines: [{ name: "round trip", colour: "--in" }] });
  }

  clear() {
    this.before = null;
    for (const plot of [this.rate, this.loss, this.roundTrip]) plot.clear();
    $("path-sentence").textContent = "There is no call.";
    for (const id of ["path-picture", "candidates-local", "candidates-remote", "errors"]) $(id).replaceChildren();
    $("path").classList.remove("live");
  }

  // Twice a second; the plots take every other one.
  show(stats, call) {
    $("path").classList.add("live");
    $("path-sentence").textContent = sentence(stats);
    $("path-picture").replaceChildren(...picture(stats));
    for (const side of ["local", "remote"]) $(`candidates-${side}`).replaceChildren(...rows(stats.candidates[side]));
    $("errors").replaceChildren(...summed(call.errors).map(errorLine));
    $("restarts").textContent = call.restarts ? `ICE was restarted from here ${call.restarts} times.` : "";
    const now = performance.now();
    const before = this.before ?? { ...stats, at: now };
    if (this.before && now - before.at < 900) return;
    this.before = { ...stats, at: now };
    const seconds = (now - before.at) / 1000;
    if (!seconds) return;
    const rate = (key) => Math.max(0, ((stats[key] - before[key]) * 8) / 1000 / seconds);
    this.rate.add(rate("received"), rate("sent"));
    const [came, lost] = [stats.packets - before.packets, Math.max(0, stats.lost - before.lost)];
    this.loss.add(came + lost > 0 ? (100 * lost) / (came + lost) : undefined);
    this.roundTrip.add(stats.roundTrip * 1000);
  }
}

function sentence({ pair, local, remote }) {
  if (!pair || !local || !remote) return "Looking for a way to the other person …";
  const [ours, theirs] = [local.candidateType === "relay", remote.candidateType === "relay"];
  if (ours && theirs) return `Through the relay on both sides. You reach it by ${relayProtocolOf(local)}.`;
  if (ours) return `Through your relay, which you reach by ${relayProtocolOf(local)}.`;
  if (theirs) return "Through the other person's relay.";
  if (local.candidateType === "host" && remote.candidateType === "host") return "Directly: you are in one network.";
  return "Directly, through the routers between you. No relay is needed.";
}

function picture({ pair, local, remote }) {
  if (!pair || !local || !remote) return [];
  const stop = (mark, name, where) =>
    make("div", { classes: "stop" }, make("b", { text: mark }), make("span", { text: name }), make("small", { text: where }));
  const hop = (text) => make("div", { classes: "hop" }, make("span", { text }));
  const [ours, theirs] = [local.candidateType === "relay", remote.candidateType === "relay"];
  const parts = [stop("You", "this browser", ours ? "" : place(local))];
  if (ours) parts.push(hop(relayProtocolOf(local)), stop("Relay", "yours", place(local)));
  parts.push(hop((local.protocol ?? "udp").toUpperCase()));
  if (theirs) parts.push(stop("Relay", "theirs", place(remote)), hop(""));
  parts.push(stop("They", "the other browser", theirs ? "" : place(remote)));
  return parts;
}

function rows(candidates) {
  const order = ["in use", "works", "trying", "found", "no answer"];
  return [...candidates]
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state))
    .slice(0, 30)
    .map((one) =>
      make(
        "li",
        {},
        make("span", { classes: `tag ${one.state.replace(" ", "-")}`, text: one.state }),
        make("span", { text: TYPES[one.candidateType] ?? one.candidateType }),
        make("small", { text: `${place(one)} ${how(one)}` }),
      ),
    );
}

function how(one) {
  const reached = one.candidateType === "relay" && (one.url || one.relayProtocol);
  return reached ? `by ${relayProtocolOf(one)}` : one.protocol ?? "";
}

// A browser tells each failure for each of its addresses, and again after each restart.
function summed(errors) {
  const by = new Map();
  for (const one of errors) {
    const key = `${one.code} ${one.url} ${familyOf(one)}`;
    by.set(key, { ...one, count: (by.get(key)?.count ?? 0) + 1 });
  }
  return [...by.values()];
}

// Of our own address that it was tried from: an IPv6 address reaches no server of IPv4 alone, and needs not.
const familyOf = ({ address }) => (!address ? "" : address.includes(":") ? ", from our IPv6 address" : ", from our IPv4 address");

function errorLine(error) {
  return make(
    "li",
    {},
    make("span", { classes: "tag no-answer", text: String(error.code) }),
    make("span", { text: explain(error) }),
    make("small", { text: `${error.url ?? ""}${familyOf(error)}${error.count > 1 ? `, ${error.count} times` : ""}` }),
  );
}
