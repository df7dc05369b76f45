// What the buttons do: Start takes the camera and a seat in a room, Call calls who else is in it, Hang up ends the call.

import { Call } from "./call.js";
import { check } from "./check.js";
import { $ } from "./dom.js";
import { PathView } from "./path.js";
import { Signalling, makeRoom } from "./signalling.js";
import { Talk } from "./talk.js";

const path = new PathView();
const talk = new Talk();
const signalling = new Signalling({ joined, partner: hearPartner, signal: hear, state: reached, refused });
let media = null;
let call = null;
let first = false;
let partner = "none";
let serverReached = true;
let seatLost = "";
// Calls that were hung up here: what is still under way of them doesn't bring them back.
const over = new Set();

const CAMERA_ERRORS = {
  NotAllowedError: "The browser wasn't allowed to use camera and microphone.",
  NotFoundError: "No camera or microphone was found.",
  NotReadableError: "Another program has the camera or the microphone.",
};

function say(text) {
  $("state").textContent = text;
}

function show() {
  const here = partner === "here";
  $("start").hidden = media !== null;
  $("call").hidden = media === null || call !== null;
  $("call").disabled = !here;
  $("hangup").hidden = call === null;
  for (const id of ["mute-audio", "mute-video"]) $(id).hidden = media === null;
  $("way").disabled = call !== null;
  document.body.classList.toggle("in-call", call !== null);
  $("server").hidden = serverReached;
  if (media && !call) {
    say({ here: "The other person is here.", away: "The other person has lost the connection …", none: "Waiting for the other person: send the link." }[partner]);
  }
}

// Somebody without a camera may still call, see and hear.
async function openCamera() {
  const wishes = { audio: true, video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } };
  if (!navigator.mediaDevices) throw new Error("The browser gives the camera to https pages and to localhost alone.");
  let failure;
  for (const wish of [wishes, { audio: true }, { video: wishes.video }]) {
    try {
      return await navigator.mediaDevices.getUserMedia(wish);
    } catch (error) {
      failure = error;
      if (error.name === "NotAllowedError") break;
    }
  }
  throw new Error(CAMERA_ERRORS[failure.name] ?? failure.message);
}

async function start() {
  $("start").disabled = true;
  try {
    say("Opening the camera …");
    const opened = await openCamera();
    let room = location.hash.slice(1);
    if (!/^[\w-]{22}$/.test(room)) {
      const made = await makeRoom();
      room = made.room;
      history.replaceState(null, "", `#${room}`);
      $("qr").src = `data:image/svg+xml,${encodeURIComponent(made.qr)}`;
      $("qr").hidden = false;
    }
    media = opened;
    $("local").srcObject = media;
    $("link").value = location.href;
    $("invite").hidden = false;
    signalling.join(room);
    show();
  } catch (error) {
    say(error.message);
  }
  $("start").disabled = false;
}

function joined(message) {
  first = message.first;
  hearPartner(message.partner);
}

function hearPartner(state) {
  partner = state;
  if (call && state === "here") call.partnerIsBack();
  if (call?.brokenAt && state === "none") call.close("The other person has left.");
  show();
}

function reached(yes) {
  serverReached = yes;
  show();
}

// The seat is lost: a call that goes on needs none, until it has to be mended.
function refused(text) {
  seatLost = text;
  if (!call) giveUp();
}

function giveUp() {
  for (const track of media?.getTracks() ?? []) track.stop();
  media = null;
  $("local").srcObject = null;
  $("invite").hidden = true;
  history.replaceState(null, "", location.pathname);
  show();
  say(seatLost);
  seatLost = "";
}

function newCall(id, replaces) {
  const remote = new MediaStream();
  $("remote").srcObject = remote;
  path.clear();
  say("Calling …");
  call = new Call({
    id,
    replaces,
    polite: !first,
    way: $("way").value,
    media,
    remote,
    send: (data) => signalling.send(data),
    servers: () => signalling.servers(),
    on: {
      state: (text) => say(text),
      stats: (stats, from) => from === call && path.show(stats, from),
      channels: (text, file) => talk.use(text, file),
      trouble: () => signalling.callHasTrouble(),
      // A call of its own in place of this one: the other side takes it as it would any.
      beyondRepair() {
        const { id } = call;
        call.close("");
        newCall(crypto.randomUUID(), id).start();
      },
      ended(why) {
        call = null;
        $("remote").srcObject = null;
        talk.end();
        path.clear();
        show();
        if (why) say(why);
        if (seatLost) giveUp();
      },
    },
  });
  keepAwake();
  show();
  return call;
}

// A telephone that goes to sleep ends the call.
async function keepAwake() {
  try {
    const lock = await navigator.wakeLock.request("screen");
    const waiting = setInterval(() => {
      if (call) return;
      clearInterval(waiting);
      lock.release();
    }, 1000);
  } catch {
    // Not every browser can, and none must.
  }
}

function hear(signal) {
  if (!media) return;
  if (signal.kind === "offer" && (over.has(signal.call) || over.has(signal.replaces))) {
    signalling.send({ kind: "bye", call: signal.call });
    return;
  }
  if (signal.kind === "offer" && signal.call !== call?.id) {
    // Both have called at once: the polite one's call gives way.
    if (call && !call.wasUp && first) return;
    call?.close("");
    newCall(String(signal.call));
  }
  if (call && signal.call === call.id) call.hear(signal);
}

function mute(kind, button) {
  const off = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(off));
  for (const track of media.getTracks()) if (track.kind === kind) track.enabled = !off;
}

$("start").onclick = start;
$("call").onclick = () => newCall(crypto.randomUUID()).start();
$("hangup").onclick = () => {
  over.add(call.id);
  call.close("You have hung up.", true);
};
$("mute-audio").onclick = () => mute("audio", $("mute-audio"));
$("mute-video").onclick = () => mute("video", $("mute-video"));
$("copy").onclick = async () => {
  $("link").select();
  try {
    await navigator.clipboard.writeText($("link").value);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Copy it by hand";
  }
};
if (navigator.share) {
  $("share").hidden = false;
  $("share").onclick = () => navigator.share({ title: "A call", url: $("link").value }).catch(() => {});
}
$("check-start").onclick = async () => {
  $("check-start").disabled = true;
  window.checked = await check();
  $("check-start").disabled = false;
};
for (const link of document.querySelectorAll("nav a")) {
  link.onclick = (event) => {
    event.preventDefault(); // what is behind # is the room
    document.querySelector(link.getAttribute("href")).scrollIntoView({ behavior: "smooth" });
  };
}
addEventListener("hashchange", () => location.reload());
addEventListener("pagehide", () => call?.close("", true));
if (location.hash === "#check") $("check").scrollIntoView();
else if (location.hash) say("You are invited to a call: press Start.");
path.clear();
show();
$("start").disabled = $("check-start").disabled = false;
