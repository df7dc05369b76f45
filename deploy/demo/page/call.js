// One call: an RTCPeerConnection that mends itself. When nothing comes any more, when ICE says so, or when the network has
// changed, ICE is restarted with fresh credentials, again and again until the other one is heard. Either side may begin; where
// both do at once, the polite one's offer gives way.

import { look, total } from "./stats.js";

const LOOK_MS = 500;
// Sound alone comes fifty times a second, muted or not.
const SILENT_MS = 3000;
const DISCONNECTED_MS = 1000;
// A restart is given so long; less where it can come to nothing, for it has found no way to itself.
const ATTEMPT_MS = 5000;
const HOPELESS_MS = 1500;
const FIRST_ATTEMPT_MS = 10000;
// The polite one lets the other begin.
const POLITE_MS = 1500;

// Of all the server's addresses those that the way chosen may use.
export function serversFor(servers, way) {
  const fits = {
    udp: (url) => url.startsWith("turn:") && !url.includes("transport=tcp"),
    tcp: (url) => url.startsWith("turn:") && url.includes("transport=tcp"),
    tls: (url) => url.startsWith("turns:"),
  }[way];
  return fits ? servers.map((server) => ({ ...server, urls: server.urls.filter(fits) })).filter((one) => one.urls.length) : servers;
}

export class Call {
  // on: state(text), stats(what stats.js looks at), channels(text, file), ended(why)
  constructor({ id, polite, way, media, remote, send, servers, on }) {
    Object.assign(this, { id, polite, way, media, remote, send, servers, on });
    this.queue = Promise.resolve();
    this.rounds = this.restarts = 0;
    this.round = null;
    this.errors = [];
    this.heardBytes = -1;
    this.began = this.heardAt = this.attemptAt = performance.now();
  }

  // What touches the connection does so one after the other.
  then(what) {
    this.queue = this.queue.then(() => this.closed || what()).catch((error) => this.closed || console.warn(error));
    return this.queue;
  }

  async open() {
    this.configuration = {
      iceTransportPolicy: this.way === "all" ? "all" : "relay",
      iceServers: serversFor(await this.servers(), this.way),
      bundlePolicy: "max-bundle",
    };
    if (this.closed) return;
    const pc = (this.pc = new RTCPeerConnection(this.configuration));
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.found++;
      this.tell("candidate", { candidate });
    };
    pc.onicecandidateerror = ({ url, errorCode, errorText, address }) => {
      this.errors.push({ url, code: errorCode, text: errorText, address });
      this.errors.splice(0, this.errors.length - 20);
    };
    pc.oniceconnectionstatechange = () => this.watch();
    pc.ontrack = ({ track }) => this.remote.addTrack(track);
    for (const track of this.media.getTracks()) pc.addTrack(track, this.media);
    this.on.channels(
      pc.createDataChannel("text", { negotiated: true, id: 0 }),
      pc.createDataChannel("file", { negotiated: true, id: 1 }),
    );
    this.looking = setInterval(() => this.watch(), LOOK_MS);
    this.changed = () => setTimeout(() => this.suspect("the network has changed"), 300);
    addEventListener("online", this.changed);
    navigator.connection?.addEventListener("change", this.changed);
  }

  start() {
    return this.then(async () => {
      await this.open();
      for (const kind of ["audio", "video"]) {
        if (!this.media.getTracks().some((track) => track.kind === kind)) {
          this.pc.addTransceiver(kind, { direction: "recvonly" });
        }
      }
      await this.offer();
    });
  }

  tell(kind, more) {
    this.send({ kind, call: this.id, ...more });
  }

  async offer(options) {
    this.found = 0;
    this.attemptAt = performance.now();
    this.round = `${this.polite ? "b" : "a"}${++this.rounds}`;
    if (this.pc.signalingState !== "stable") await this.pc.setLocalDescription({ type: "rollback" });
    await this.pc.setLocalDescription(await this.pc.createOffer(options));
    this.tell("offer", { round: this.round, sdp: this.pc.localDescription.sdp, way: this.way });
  }

  // Old credentials may do where the server can't be asked now.
  async freshCredentials() {
    try {
      this.configuration.iceServers = serversFor(await this.servers(), this.way);
      this.pc.setConfiguration(this.configuration);
    } catch (error) {
      console.warn("credentials:", error.message);
    }
  }

  restart(why) {
    this.attemptAt = performance.now();
    this.restarts++;
    this.on.state(`Mending the call: ${why} …`);
    return this.then(async () => {
      await this.freshCredentials();
      await this.offer({ iceRestart: true });
    });
  }

  // Something has happened to the network: rather a restart too many than one too late.
  suspect(why) {
    if (this.closed || !this.pc) return;
    if (performance.now() - this.attemptAt > HOPELESS_MS) this.restart(why);
  }

  hear(signal) {
    if (signal.kind === "offer") this.then(() => this.hearOffer(signal));
    else if (signal.kind === "answer") this.then(() => this.hearAnswer(signal));
    else if (signal.kind === "candidate") this.then(() => this.hearCandidate(signal));
    else if (signal.kind === "bye") this.close("The other person has hung up");
  }

  async hearOffer({ round, sdp }) {
    if (!this.pc) await this.open();
    else await this.freshCredentials();
    if (this.pc.signalingState !== "stable") {
      if (!this.polite) return;
      await this.pc.setLocalDescription({ type: "rollback" });
    }
    this.found = 0;
    this.attemptAt = performance.now();
    this.round = null;
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.pc.setLocalDescription();
    this.tell("answer", { round, sdp: this.pc.localDescription.sdp });
  }

  async hearAnswer({ round, sdp }) {
    if (round !== this.round || this.pc.signalingState !== "have-local-offer") return;
    await this.pc.setRemoteDescription({ type: "answer", sdp });
  }

  // One of an offer that has given way fits nowhere.
  async hearCandidate({ candidate }) {
    if (this.pc?.remoteDescription) await this.pc.addIceCandidate(candidate ?? undefined).catch(() => {});
  }

  async watch() {
    if (this.closed || this.watching) return;
    this.watching = true;
    try {
      const stats = await look(this.pc);
      if (this.closed) return;
      const now = performance.now();
      if (total(stats) !== this.heardBytes) {
        this.heardBytes = total(stats);
        this.heardAt = now;
      }
      this.mend(now);
      this.on.stats(stats, this);
    } finally {
      this.watching = false;
    }
  }

  mend(now) {
    const ice = this.pc.iceConnectionState;
    const up = ice === "connected" || ice === "completed";
    if (!up) this.heardAt = now;
    if (ice !== "disconnected") this.disconnectedAt = null;
    else this.disconnectedAt ??= now;
    let why = null;
    if (ice === "failed") why = "no way to the other person works";
    else if (ice === "disconnected" && now - this.disconnectedAt > DISCONNECTED_MS) why = "the connection is lost";
    else if (up && now - this.heardAt > SILENT_MS) why = "nothing comes any more";
    else if (!up && this.wasUp && ice !== "disconnected") why = "the connection is lost";
    else if (!up && !this.wasUp && now - this.attemptAt > FIRST_ATTEMPT_MS) why = "nobody has answered yet";
    if (!why) {
      this.brokenAt = null;
      if (up) {
        this.wasUp = true;
        this.on.state("");
      }
      return;
    }
    this.brokenAt ??= now;
    const hopeless = this.pc.iceGatheringState === "complete" && !this.found;
    const wait = this.restarts && this.attemptAt >= this.brokenAt ? (hopeless ? HOPELESS_MS : ATTEMPT_MS) : 0;
    if (now - this.attemptAt > wait && now - this.brokenAt >= (this.polite ? POLITE_MS : 0)) this.restart(why);
  }

  // The other one is back at the server, perhaps from another network.
  partnerIsBack() {
    if (this.brokenAt || this.disconnectedAt || performance.now() - this.heardAt > 1500) this.suspect("the other person is back");
  }

  close(why, tell = false) {
    if (this.closed) return;
    this.closed = true;
    if (tell) this.tell("bye");
    clearInterval(this.looking);
    removeEventListener("online", this.changed);
    navigator.connection?.removeEventListener("change", this.changed);
    this.pc?.close();
    this.on.ended(why);
  }
}
