// The way to the other person before there is a call: a WebSocket to the server that this page came from. It comes back by
// itself when the network was away, and keeps our seat in the room by a token that this tab alone has.

const PING_MS = 1000;
// So long without a word from the server the connection is thought to be cut; less where the call has trouble, too.
const CUT_MS = 6000;
const CUT_WITH_THE_CALL_MS = 2000;
const AGAIN_MS = [200, 500, 1000, 2000];
const FETCH_MS = 3000;
// What the server may refuse without the room being lost.
const PASSING = new Set(["bad_message", "unknown_type", "too_fast", "too_many_connections"]);

async function post(path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { method: "POST", headers, signal: AbortSignal.timeout(FETCH_MS) });
  const words = await answer.json();
  if (!answer.ok) throw new Error(words.text ?? `${path}: ${answer.status}`);
  return words;
}

export const makeRoom = () => post("rooms");

export class Signalling {
  // on: joined({first, partner}), partner("here" | "away" | "none"), signal(data), state(connected), refused(text)
  constructor(on) {
    this.on = on;
    addEventListener("online", () => this.check());
  }

  join(room) {
    this.room = room;
    this.tries = 0;
    this.connect();
  }

  connect() {
    const url = new URL("signal", location.href.split("#")[0]);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    this.heard = performance.now();
    socket.onopen = () => this.put({ type: "join", room: this.room, token: this.token });
    socket.onmessage = ({ data }) => socket === this.socket && this.hear(JSON.parse(data));
    socket.onclose = () => socket === this.socket && this.lost();
    clearInterval(this.pinging);
    this.pinging = setInterval(() => this.check(), PING_MS);
  }

  // Whether the server still answers: a connection that a change of networks has cut says nothing by itself.
  check(after = CUT_MS) {
    if (!this.room || !this.socket) return;
    if (performance.now() - this.heard > after) this.lost();
    else if (this.socket.readyState === WebSocket.OPEN) this.put({ type: "ping" });
  }

  callHasTrouble() {
    this.check(CUT_WITH_THE_CALL_MS);
  }

  lost() {
    const old = this.socket;
    this.socket = null;
    old?.close();
    clearInterval(this.pinging);
    if (!this.room) return;
    this.on.state(false);
    setTimeout(() => this.room && !this.socket && this.connect(), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
  }

  hear(message) {
    this.heard = performance.now();
    if (message.type === "joined") {
      this.tries = 0;
      this.token = message.token;
      this.on.state(true);
      if (this.unsaid) this.send(this.unsaid);
      this.unsaid = null;
      this.on.joined(message);
    } else if (message.type === "partner") {
      this.on.partner(message.partner);
    } else if (message.type === "signal") {
      this.on.signal(message.data);
    } else if (message.type === "error" && PASSING.has(message.code)) {
      console.warn(message.text);
    } else if (message.type === "error") {
      this.leave();
      this.on.refused(message.text);
    }
  }

  put(message) {
    const open = this.socket?.readyState === WebSocket.OPEN;
    if (open) this.socket.send(JSON.stringify(message));
    return open;
  }

  // All else is said again by itself when we are back, but not that we have hung up.
  send(data) {
    if (!this.put({ type: "signal", data }) && data.kind === "bye") this.unsaid = data;
  }

  // Short-lived credentials, for who is in a room: [{urls, username, credential}].
  async servers() {
    return (await post("turn", this.token)).iceServers;
  }

  // A page that is reloaded has its seat again.
  set token(token) {
    sessionStorage.setItem(`seat ${this.room}`, token);
  }

  get token() {
    return sessionStorage.getItem(`seat ${this.room}`);
  }

  leave() {
    this.put({ type: "leave" });
    sessionStorage.removeItem(`seat ${this.room}`);
    this.room = null;
    this.lost();
  }
}
