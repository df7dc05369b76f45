// Text and files, by two data channels of a call. A file is offered, and goes only once it is accepted; whoever sends waits
// when the channel is full, and whoever receives takes no more than was offered.

import { $, bytes, make } from "./dom.js";

const MOST_TEXT = 2000;
const MOST_LINES = 200;
const MOST_FILE = 64 * 1024 * 1024;
const MOST_NAME = 100;
const CHUNK = 16 * 1024;
const [HIGH, LOW] = [1024 * 1024, 256 * 1024];

export class Talk {
  constructor() {
    $("text-form").onsubmit = (event) => {
      event.preventDefault();
      this.say($("text").value.trim());
    };
    $("file").onchange = () => {
      const [file] = $("file").files;
      if (file) this.offer(file);
      $("file").value = "";
    };
    this.enable(false);
  }

  use(text, file) {
    this.end();
    Object.assign(this, { text, file });
    file.binaryType = "arraybuffer";
    file.bufferedAmountLowThreshold = LOW;
    text.onopen = () => this.enable(true);
    text.onclose = () => this.text === text && this.end();
    text.onmessage = ({ data }) => typeof data === "string" && this.line("they", data.slice(0, MOST_TEXT));
    file.onmessage = ({ data }) => (typeof data === "string" ? this.hear(data) : this.take(data));
  }

  end() {
    for (const one of [this.outgoing, this.incoming]) one?.row.tell("cut off: the call is over");
    this.outgoing = this.incoming = this.text = this.file = null;
    this.enable(false);
  }

  enable(on) {
    for (const id of ["text", "send", "file"]) $(id).disabled = !on;
    $("file-label").classList.toggle("off", !on);
  }

  say(text) {
    if (!text || this.text?.readyState !== "open") return;
    this.text.send(text.slice(0, MOST_TEXT));
    this.line("you", text);
    $("text").value = "";
  }

  line(who, text, ...more) {
    const row = make("li", { classes: who }, make("span", { text }), ...more);
    $("talk").append(row);
    while ($("talk").childElementCount > MOST_LINES) $("talk").firstElementChild.remove();
    row.scrollIntoView?.({ block: "nearest" });
    return row;
  }

  fileLine(who, { name, size }, ...buttons) {
    const state = make("small");
    const bar = make("progress", { max: size || 1, value: 0 });
    const row = this.line(who, `${name} (${bytes(size)})`, bar, state, ...buttons);
    return {
      progress: (value) => (bar.value = value),
      tell: (text, ...more) => {
        state.textContent = text;
        for (const button of buttons) button.remove();
        row.append(...more);
      },
    };
  }

  control(words) {
    if (this.file?.readyState === "open") this.file.send(JSON.stringify(words));
  }

  offer(file) {
    if (this.outgoing) return this.line("note", "One file at a time: wait for the one before.");
    if (file.size > MOST_FILE) return this.line("note", `${file.name} is too long: at most ${bytes(MOST_FILE)}.`);
    const id = crypto.getRandomValues(new Uint32Array(1))[0];
    this.outgoing = { id, file, row: this.fileLine("you", file) };
    this.outgoing.row.tell("offered");
    this.control({ offer: id, name: file.name.slice(-MOST_NAME), size: file.size });
  }

  hear(data) {
    let words;
    try {
      words = JSON.parse(data.slice(0, 1000));
    } catch {
      return;
    }
    if (words === null || typeof words !== "object") return;
    if ("offer" in words) this.hearOffer(words);
    const [out, into] = [this.outgoing, this.incoming];
    if (out && words.accept === out.id && !out.going) this.sendFile(out);
    if (out && words.refuse === out.id) {
      out.row.tell(String(words.why ?? "refused").slice(0, MOST_NAME));
      this.outgoing = null;
    }
    if (out && words.got === out.id) {
      out.row.tell("has arrived");
      this.outgoing = null;
    }
    if (into && words.cancel === into.id) {
      into.row.tell("the other side gave up");
      this.incoming = null;
    }
  }

  hearOffer({ offer: id, name, size }) {
    const refuse = (why) => this.control({ refuse: id, why });
    if (!Number.isSafeInteger(size) || size < 0 || size > MOST_FILE) return refuse("too long");
    if (this.incoming) return refuse("one at a time");
    name = String(name).slice(-MOST_NAME).replace(/[/\\\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "_");
    const accept = make("button", { text: "Accept", classes: "accept" });
    const decline = make("button", { text: "Refuse" });
    const row = this.fileLine("they", { name, size }, accept, decline);
    const incoming = (this.incoming = { id, name, size, row, parts: [], got: 0 });
    accept.onclick = () => {
      incoming.accepted = true;
      row.tell("coming …");
      this.control({ accept: id });
      if (!size) this.arrived(incoming);
    };
    decline.onclick = () => {
      row.tell("refused");
      this.incoming = null;
      refuse("refused");
    };
  }

  async sendFile(out) {
    out.going = true;
    const channel = this.file;
    try {
      for (let at = 0; at < out.file.size; at += CHUNK) {
        const part = await out.file.slice(at, at + CHUNK).arrayBuffer();
        if (channel.bufferedAmount > HIGH) {
          await new Promise((resolve) => channel.addEventListener("bufferedamountlow", resolve, { once: true }));
        }
        if (this.outgoing !== out) return;
        channel.send(part);
        out.row.progress(at + part.byteLength);
        out.row.tell("going …");
      }
    } catch (error) {
      this.control({ cancel: out.id });
      if (this.outgoing === out) this.outgoing = null;
      out.row.tell(`failed: ${error.message}`);
    }
  }

  take(part) {
    const into = this.incoming;
    if (!into?.accepted) return;
    into.got += part.byteLength;
    if (into.got > into.size) {
      into.row.tell("refused: more came than was offered");
      this.control({ refuse: into.id, why: "more came than was offered" });
      this.incoming = null;
      return;
    }
    into.parts.push(part);
    into.row.progress(into.got);
    if (into.got === into.size) this.arrived(into);
  }

  // Never shown in this page, whatever it is: saved alone.
  arrived(into) {
    const href = URL.createObjectURL(new Blob(into.parts, { type: "application/octet-stream" }));
    const link = make("a", { href, download: into.name, text: "Save", classes: "save" });
    into.row.tell("is here", link);
    this.incoming = null;
    this.control({ got: into.id });
  }
}
