"""A headless browser (Chromium or Firefox) with a page of ours, browser_call.html or another, which tells what it does.

The page comes from a server on the browser's own 127.0.0.1: so it may use the camera, which is a faked one.
"""

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

CALL = Path(__file__).with_name("browser_call.html")
# It ends after so long where nothing else is said, whatever becomes of the test.
LONGEST_S = 60

FIREFOX_PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # Less beside the call: what a browser looks up by itself finds nobody in these networks.
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "browser.shell.checkDefaultBrowser": False,
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}


def chromium(home, url):
    return [
        "chromium",
        "--headless=new",
        "--no-sandbox",
        f"--user-data-dir={home}/profile",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-breakpad",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        url,
    ]


def firefox(home, url):
    profile = home / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});" for key, value in FIREFOX_PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    return ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile), url]


def trust(database, certificate):
    """Puts it among the authorities of an NSS database, which is what both browsers look into."""
    database.mkdir(parents=True, exist_ok=True)
    for words in (["-N", "--empty-password"], ["-A", "-n", "test", "-t", "C,,", "-i", str(certificate)]):
        subprocess.run(["certutil", "-d", f"sql:{database}", *words], check=True, capture_output=True)


BROWSERS = {"chromium": chromium, "firefox": firefox}


class Page:
    """`report` is the last of what the page has told, {} at first; `output()` what the browser prints."""

    def __init__(self, home):
        self.report = {}
        self.log = home / "log"

    def output(self):
        return self.log.read_text(errors="replace")[-4000:]


def serve(host, page, content, answer):
    """The server, in the namespace of `host`, at a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path.split("?")[0] == "/call"
            body = content.read_bytes() if found else b""
            self.answer(200 if found else 404, body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/answer":
                self.answer(200, answer(body.decode()).encode())
                return
            if "error" not in page.report:  # the first one stays
                page.report = json.loads(body)
            self.answer(204)

        def answer(self, status, body=b""):
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with host.inside():
        return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextlib.contextmanager
def call(host, name, query, trusted=None, content=CALL, answer=None, longest_s=LONGEST_S):
    """A browser with the page `content`, in the namespace of `host`, that trusts a certificate of PEM: gives its Page.

    `answer` makes of an offer that the page posts to /answer, SDP as text, what it is answered.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        page = Page(home)
        server = serve(host, page, content, answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = BROWSERS[name](home, f"http://127.0.0.1:{server.server_port}/call?{query}")
        if trusted is not None:
            trust(home / ("profile" if name == "firefox" else ".pki/nssdb"), trusted)
        if shutil.which(command[0]) is None:
            raise AssertionError(f"{command[0]} is not installed: deploy/install-deps --tests")
        with open(page.log, "w") as log:
            browser = host.start(
                *["timeout", "--signal=KILL", longest_s, *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"},
            )
        try:
            yield page
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
            server.server_close()
