// One call: an RTCPeerConnection that mends itself. When nothing comes any more, when ICE says so, or when the network has
// changed, ICE is restarted with fresh credentials, again and again until the other one is heard. Either side may begin; where
// both do at once, the polite one's offer gives way.

import { gather, serversFor } from "./relay.js";
import { look } from "./stats.js";

const LOOK_MS = 500;
// Each sends something at least as often as it looks.
const SILENT_MS = 1500;
const DISCONNECTED_MS = 500;
// A restart is given so long before the next.
const ATTEMPT_MS = 5000;
const FIRST_ATTEMPT_MS = 10000;
// Where the server gives no credentials, it is asked again.
const ASK_AGAIN_MS = 500;
const PROBE_MS = 4000;
// The polite one lets the other begin.
const POLITE_MS = 2000;

export class Call {
  // on: state(text), stats(what stats.js looks at), channels(text, file), ended(why), trouble(), beyondRepair()
  constructor({ id, replaces, polite, way, media, remote, send, servers, on }) {
    Object.assign(this, { id, replaces, polite, way, media, remote, send, servers, on });
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

  // A network that has just changed may need a moment.
  async firstCredentials() {
    while (!this.closed) {
      try {
        return serversFor(await this.servers(), this.way);
      } catch (error) {
        this.on.state(`The server gives no credentials: ${error.message} …`);
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
      }
    }
  }

  async open() {
    this.configuration = {
      iceTransportPolicy: this.way === "all" ? "all" : "relay",
      iceServers: await this.firstCredentials(),
      bundlePolicy: "max-bundle",
    };
    if (this.closed) return;
    const pc = (this.pc = new RTCPeerConnection(this.configuration));
    pc.onicecandidate = ({ candidate }) => {
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
    this.beat = pc.createDataChannel("beat", { negotiated: true, id: 2, ordered: false, maxRetransmits: 0 });
    // Closed from the other side, where its "bye" doesn't get through.
    this.beat.onclose = () => pc.connectionState !== "failed" && this.close("The other person has gone.");
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

  attempted() {
    this.attemptAt = performance.now();
    this.upSince = false;
  }

  async offer(options) {
    this.attempted();
    this.round = `${this.polite ? "b" : "a"}${++this.rounds}`;
    if (this.pc.signalingState !== "stable") await this.pc.setLocalDescription({ type: "rollback" });
    await this.pc.setLocalDescription(await this.pc.createOffer(options));
    this.tell("offer", { replaces: this.replaces, round: this.round, sdp: this.pc.localDescription.sdp });
  }

  // Old credentials may do where the server can't be asked now.
  async freshCredentials() {
    try {
      this.configuration.iceServers = serversFor(await this.servers(), this.way);
      this.pc.setConfiguration(this.configuration);
      return true;
    } catch (error) {
      console.warn("credentials:", error.message);
      return false;
    }
  }

  // Begins only once the server answers and the relay gives an address: a restart that finds no way at all ends the
  // connection's encryption in Firefox, for good.
  async restart(why) {
    if (this.attempting) return;
    this.attempting = true;
    this.on.state(`Mending the call: ${why} …`);
    try {
      if (!(await this.freshCredentials()) || !(await this.reachable())) return;
      await this.then(async () => {
        // The other one may have begun in the meantime.
        if (performance.now() - this.attemptAt < POLITE_MS) return;
        this.restarts++;
        await this.offer({ iceRestart: true });
      });
    } finally {
      this.attempting = false;
    }
  }

  // Where only the relay will do, whether it gives an address.
  async reachable() {
    if (this.way === "all") return true;
    return (await gather(this.configuration.iceServers, { ms: PROBE_MS, most: 1, errors: this.errors })).length > 0;
  }

  // Something has happened to the network: rather a restart too many than one too late.
  suspect(why) {
    if (!this.closed && this.pc && performance.now() - this.attemptAt > POLITE_MS) this.restart(why);
  }

  hear(signal) {
    if (signal.kind === "offer") this.then(() => this.hearOffer(signal));
    else if (signal.kind === "answer") this.then(() => this.hearAnswer(signal));
    else if (signal.kind === "candidate") this.then(() => this.hearCandidate(signal));
    else if (signal.kind === "bye") this.close("The other person has hung up.");
  }

  async hearOffer({ round, sdp }) {
    if (!this.pc) {
      await this.open();
    } else {
      await this.freshCredentials();
      // It is offered again.
      if (!(await this.reachable())) return;
    }
    if (this.pc.signalingState !== "stable") {
      if (!this.polite) return;
      await this.pc.setLocalDescription({ type: "rollback" });
    }
    this.attempted();
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
      if (this.beat.readyState === "open") this.beat.send(".");
      if (stats.received !== this.heardBytes) {
        this.heardBytes = stats.received;
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
    // Encryption has failed, in Firefox also where its address has gone: no restart of ICE mends that.
    if (ice !== "failed" && this.pc.connectionState === "failed") return this.on.beyondRepair();
    // What has ended the call before this one may have cut the way to the server, too.
    if (this.replaces && !this.wasUp) this.on.trouble();
    let why = null;
    if (ice === "failed") why = "no way to the other person works";
    else if (ice === "disconnected") why = now - this.disconnectedAt > DISCONNECTED_MS ? "the connection is lost" : null;
    else if (up) why = now - this.heardAt > SILENT_MS ? "nothing comes any more" : null;
    else if (this.wasUp) why = "the connection is lost";
    else if (now - this.attemptAt > (this.replaces ? ATTEMPT_MS : FIRST_ATTEMPT_MS)) why = "nobody has answered yet";
    if (!why) {
      if (up) {
        this.wasUp = this.upSince = true;
        this.brokenAt = null;
        if (!this.attempting) this.on.state("");
      }
      return;
    }
    this.brokenAt ??= now;
    this.on.trouble();
    const wait = this.upSince ? 0 : ATTEMPT_MS;
    if (now - this.attemptAt > wait && now - this.brokenAt >= (this.polite ? POLITE_MS : 0)) this.restart(why);
  }

  // The other one is back at the server, perhaps from another network.
  partnerIsBack() {
    const quiet = this.wasUp && performance.now() - this.heardAt > SILENT_MS / 2;
    if (!this.brokenAt && !this.disconnectedAt && !quiet) return;
    const mend = () => this.suspect("the other person is back");
    if (this.polite) setTimeout(() => (this.brokenAt || this.disconnectedAt) && mend(), POLITE_MS);
    else mend();
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
