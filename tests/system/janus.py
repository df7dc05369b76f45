"""The media server Janus (Debian's), with its echo test alone: it sends back what it gets."""

import contextlib
import http.client
import json
import subprocess
import tempfile
import uuid
from pathlib import Path

from lab import wait_for

PLUGIN = "janus.plugin.echotest"
ADMIN_SECRET = "admin"
# What Debian installs below its folder of libraries.
WANTED = {"plugins": "libjanus_echotest.so", "transports": "libjanus_http.so"}


def installed(kind):
    """Debian's library of that kind, or an error that says what to install."""
    found = sorted(Path("/usr/lib").glob(f"*/janus/{kind}/{WANTED[kind]}"))
    assert found, "janus is not installed: deploy/install-deps --tests"
    return found[0]


class Janus:
    """One that runs on `host`, with these lines in the section `nat` of its configuration."""

    def __init__(self, host, folder, nat):
        self.host = host
        self.log = folder / "log"
        for kind in WANTED:
            (folder / kind).mkdir()
            (folder / kind / WANTED[kind]).symlink_to(installed(kind))
        for kind in ("events", "loggers"):
            (folder / kind).mkdir()
        folders = "".join(
            f'{kind}_folder = "{folder}/{kind}"\n' for kind in ("plugins", "transports", "events", "loggers")
        )
        (folder / "janus.jcfg").write_text(
            f'general: {{\nconfigs_folder = "{folder}"\n{folders}admin_secret = "{ADMIN_SECRET}"\n}}\nnat: {{\n{nat}\n}}\n'
        )
        (folder / "janus.transport.http.jcfg").write_text(
            'general: {\nhttp = true\nip = "127.0.0.1"\n}\nadmin: {\nadmin_http = true\nadmin_ip = "127.0.0.1"\n}\n'
        )
        with open(self.log, "w") as log:
            command = ["janus", "-o", "-F", folder, "-C", folder / "janus.jcfg"]
            self.process = host.start(*command, stdout=log, stderr=subprocess.STDOUT)

    def output(self):
        return self.log.read_text(errors="replace")

    def ask(self, path, message=None, port=8088):
        """What it answers to a message, or to none (GET)."""
        with self.host.inside():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
            connection.connect()
        with contextlib.closing(connection):
            if message is None:
                connection.request("GET", path)
            else:
                body = json.dumps({"transaction": uuid.uuid4().hex, **message})
                connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        assert answer["janus"] != "error", (answer, self.output()[-3000:])
        return answer

    def admin(self, path, request):
        return self.ask(f"/admin{path}", {"janus": request, "admin_secret": ADMIN_SECRET}, 7088)

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.output()[-3000:]
            with contextlib.suppress(OSError):
                return self.ask("/janus/info")["janus"] == "server_info"

        wait_for(ready, 20, "Janus ready")

    def answer(self, offer, relayed_only=False):
        """The answer of an echo test to an offer of SDP."""
        session = self.ask("/janus", {"janus": "create"})["data"]["id"]
        handle = self.ask(f"/janus/{session}", {"janus": "attach", "plugin": PLUGIN})["data"]["id"]
        description = {"type": "offer", "sdp": offer, "force_relay": relayed_only}
        message = {"janus": "message", "body": {"audio": True, "video": True}, "jsep": description}
        self.ask(f"/janus/{session}/{handle}", message)
        for _ in range(5):  # other events may come first
            event = self.ask(f"/janus/{session}?maxev=1")
            if "jsep" in event:
                return event["jsep"]["sdp"]
        raise AssertionError(f"no answer to the offer\n{self.output()[-3000:]}")

    def info(self):
        """What it knows of its only session's only handle: candidates, pair, packets."""
        (session,) = self.admin("", "list_sessions")["sessions"]
        (handle,) = self.admin(f"/{session}", "list_handles")["handles"]
        return self.admin(f"/{session}/{handle}", "handle_info")["info"]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def janus(host, nat=""):
    """One that is ready."""
    with tempfile.TemporaryDirectory() as folder:
        server = Janus(host, Path(folder), nat)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()
