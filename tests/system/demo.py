"""The demo in the lab: Turnpike and deploy/demo/server.py on the relay's host, which both the client and the peer know as
turn.example.org, and a browser on each of the two. Between them is no way but through the relay."""

import contextlib
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from certificates import authority, make_certificate
from driven_browser import driven
from lab import wait_for

DEMO = Path(__file__).resolve().parents[2] / "deploy" / "demo"
SECRET = "a secret of the tests, long enough"
NAME = "turn.example.org"
URL = f"https://{NAME}/"
TURN = [f"turn:{NAME}:3478", f"turn:{NAME}:3478?transport=tcp", f"turns:{NAME}:5349?transport=tcp"]
# Where a reviewer looks.
PICTURES = Path(os.environ.get("TURNPIKE_SCREENSHOTS", Path(__file__).resolve().parents[2] / "build" / "screenshots"))

# Keeps what the page makes, to be asked later, without the page's help.
WATCH = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...all) { super(...all); window.connections.push(this); }
};
window.blobs = [];
const makeUrl = URL.createObjectURL;
URL.createObjectURL = (blob) => { window.blobs.push(blob); return makeUrl.call(URL, blob); };
"""
REPORT = """(async () => {
  const pc = window.connections.filter((one) => one.connectionState !== "closed" && one.getTransceivers().length).at(-1);
  if (!pc) return {};
  const stats = [...(await pc.getStats()).values()];
  const byId = (id) => stats.find((one) => one.id === id);
  const chosen = stats.find((one) => one.type === "transport")?.selectedCandidatePairId;
  const pairs = stats.filter((one) => one.type === "candidate-pair" && one.nominated && one.state === "succeeded");
  const pair = byId(chosen) ?? pairs.find((one) => one.selected) ?? pairs.at(-1);
  const inbound = (kind) => stats.find((one) => one.type === "inbound-rtp" && one.kind === kind);
  return {
    ice: pc.iceConnectionState,
    frames: inbound("video")?.framesDecoded ?? 0,
    audio: inbound("audio")?.packetsReceived ?? 0,
    types: pair ? [byId(pair.localCandidateId)?.candidateType, byId(pair.remoteCandidateId)?.candidateType] : [],
    relayProtocol: byId(pair?.localCandidateId)?.relayProtocol,
    said: document.querySelector("#state").textContent,
  };
})()"""


class Demo:
    def __init__(self, lab, folder, stack):
        self.lab, self.folder, self.stack = lab, folder, stack
        self.certificate = make_certificate(folder, NAME)
        self.authority = authority(folder)[0]
        self.browsers = {}
        # Allocations whose client can't end them any more: its address is gone. They end by their lifetime.
        self.stranded = 0
        for host, address in ((lab.client, lab.SERVER4), (lab.peer, lab.RELAY4)):
            host.know(NAME, address)
            host.know(NAME + ".", address)  # as Chromium asks for relays
            # What isn't known is refused at once, instead of being asked for where nobody answers.
            (Path("/etc/netns") / host.name / "resolv.conf").write_text("nameserver 127.0.0.1\n")

    def start_relay(self, extra=""):
        config = self.folder / "demo.toml"
        text = 'idle_sleep_us = 100\nsoftware = "demo"\n'
        for address in (self.lab.SERVER4, self.lab.RELAY4):
            for port, transport in ((3478, "udp"), (3478, "tcp"), (5349, "tls")):
                text += f'[[listener]]\naddress = "{address}:{port}"\ntransport = "{transport}"\n'
        chain, key = self.certificate
        text += f'[[certificate]]\nchain = "{chain}"\nkey = "{key}"\n'
        text += extra if "[auth]" in extra else f"[auth]\n{extra}"
        config.write_text(text.replace("[auth]", f'[auth]\nrest_secrets = ["{SECRET}"]'))
        self.stranded = 0
        self.relay = self.lab.start_relay("--config", config, listen=[], relays=[self.lab.RELAY4])
        self.stack.callback(self.relay.kill)
        return self.relay

    def start_server(self):
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        self.log = self.folder / "server.log"
        command = ["/usr/bin/python3", DEMO / "server.py", "--listen", "0.0.0.0:443", "--user", "nobody"]
        command += ["--certificate", ",".join(map(str, self.certificate)), "--secret-file", secret]
        for url in TURN:
            command += ["--turn", url]
        self.server = self.lab.relay.start(
            *command,
            stdout=open(self.log, "a"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.stack.callback(self.server.kill)
        wait_for(self.server_is_ready, 20, "the demo's server")

    def server_is_ready(self):
        if self.server.poll() is not None:
            raise AssertionError(f"the demo's server has ended:\n{self.log.read_text()}")
        return "ready" in self.log.read_text()

    def stop_server(self):
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(timeout=10)

    def browser(self, host, name):
        """One of a kind on each host, for all tests."""
        key = (host.name, name)
        if key not in self.browsers:
            self.browsers[key] = self.stack.enter_context(driven(host, name, self.authority, WATCH))
        one = self.browsers[key]
        one.size(1280, 900)
        return one

    def allocations(self):
        return self.relay.total("turnpike_allocations")

    @contextlib.contextmanager
    def call(self, names, way="relay", strands=False):
        """Start on both, Call on the first: the two pages, seeing and hearing each other; hung up in the end. `strands`
        where a client's address goes meanwhile: it can't end the allocation that it had by it."""
        with ThreadPoolExecutor(2) as pool:
            pages = [*pool.map(self.browser, (self.lab.client, self.lab.peer), names)]
        with self.explained(pages):
            pages[0].open(URL)
            pages[0].click("#start")
            link = wait_for(lambda: pages[0].js("document.querySelector('#link').value"), 20, "a link")
            pages[1].open(link)
            pages[1].click("#start")
            for page in pages:
                page.js(f"document.querySelector('#way').value = '{way}'")
            pages[0].click("#call", 30)
            self.wait_for_media(pages, 30)
        try:
            with self.explained(pages):
                yield pages
                if not strands:
                    self.hang_up(pages)
        finally:
            for page in pages:
                if strands and not page.js("document.querySelector('#hangup').hidden"):
                    page.click("#hangup")
            if strands:
                time.sleep(3)
                self.stranded = self.allocations()
            for page in pages:
                page.open("about:blank")

    @contextlib.contextmanager
    def explained(self, pages):
        try:
            yield
        except AssertionError as error:
            told = [page.js(REPORT) if page.js("!!window.connections") else {} for page in pages]
            for number, page in enumerate(pages):
                page.picture(PICTURES / f"failed-{number}.png")
            raise AssertionError(
                f"{error}\n{told}\n{self.log.read_text()[-1500:]}\n{self.relay.output()[-1500:]}"
            ) from None

    def reports(self, pages):
        return [page.js(REPORT) for page in pages]

    def wait_for_media(self, pages, seconds, frames=15, packets=20):
        """Fails unless each gets so many pictures, and packets of sound, more than now."""
        before = self.reports(pages)

        def more_of_it():
            enough = True
            for number, now in enumerate(self.reports(pages)):
                if now.get("audio", 0) < before[number].get("audio", 0):
                    before[number] = {}  # a connection of its own, in place of the one before
                old = before[number]
                seen, heard = (now.get(key, 0) - old.get(key, 0) for key in ("frames", "audio"))
                enough = enough and seen >= frames and heard >= packets
            return enough

        wait_for(more_of_it, seconds, f"{frames} pictures and {packets} packets of sound on both sides")

    def hang_up(self, pages, seconds=10):
        """By the second's click, unless that has been done; leaves no allocation."""
        if pages[1].js("document.querySelector('#hangup').hidden"):
            return
        pages[1].click("#hangup")
        for page in pages:
            wait_for(lambda: page.js("document.querySelector('#hangup').hidden"), 10, "the call's end")
        wait_for(lambda: self.allocations() <= self.stranded, seconds, "no allocation after Hang up")
