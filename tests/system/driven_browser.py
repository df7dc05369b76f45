"""A headless browser that is driven as by a hand: pages opened, buttons clicked, pictures taken. Chromium speaks its DevTools
protocol, Firefox WebDriver BiDi; both are JSON over a WebSocket on the browser's own 127.0.0.1."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import websocket

from browser import BROWSERS, trust
from lab import wait_for

ANSWER_S = 90
# Whatever becomes of the test.
LONGEST_S = 1200


class Wire:
    """Commands, numbered, and their answers; events are passed over."""

    def __init__(self, host, port, path):
        with host.inside():
            sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        self.socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}{path}", socket=sock, timeout=ANSWER_S, suppress_origin=True
        )
        self.number = 0

    def ask(self, method, more=None, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params, **(more or {})}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']} {answer.get('message', '')}")
                return answer["result"]


class Chromium:
    FLAGS = ["--remote-debugging-port=0"]

    def __init__(self, host, home):
        note = home / "profile" / "DevToolsActivePort"
        wait_for(lambda: note.exists() and "\n" in note.read_text(), 40, "Chromium's port")
        port, path = note.read_text().split("\n")[:2]
        self.wire = Wire(host, int(port), path)
        target = self.wire.ask("Target.createTarget", url="about:blank")["targetId"]
        found = self.wire.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.more = {"sessionId": found["sessionId"]}
        self.ask("Page.enable")

    def ask(self, method, **params):
        return self.wire.ask(method, self.more, **params)

    def before_each_page(self, script):
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url):
        self.ask("Page.navigate", url=url)

    def evaluate(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width, height):
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def picture(self):
        return self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]


class Firefox:
    FLAGS = ["--remote-debugging-port=0"]

    def __init__(self, host, home):
        note = home / "profile" / "WebDriverBiDiServer.json"
        wait_for(lambda: note.exists() and note.read_text().strip().endswith("}"), 40, "Firefox's port")
        self.wire = Wire(host, json.loads(note.read_text())["ws_port"], "/session")
        self.ask("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": False}})
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method, **params):
        return self.wire.ask(method, **params)

    def before_each_page(self, script):
        self.ask("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    def open(self, url):
        self.ask("browsingContext.navigate", context=self.context, url=url, wait="interactive")

    def evaluate(self, expression):
        answer = self.ask(
            "script.evaluate",
            expression=expression,
            target={"context": self.context},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise AssertionError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def press(self, x, y):
        mouse = [
            {"type": "pointerMove", "x": int(x), "y": int(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self.ask(
            "input.performActions",
            context=self.context,
            actions=[{"type": "pointer", "id": "mouse", "actions": mouse}],
        )

    def size(self, width, height):
        self.ask("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height})

    def picture(self):
        return self.ask("browsingContext.captureScreenshot", context=self.context, origin="document")["data"]


class Driven:
    """What tests do with either."""

    def __init__(self, name, tongue, home):
        self.name, self.tongue, self.home = name, tongue, home
        self.open = tongue.open
        self.size = tongue.size

    def js(self, expression):
        """The value of an expression, which may await."""
        text = self.tongue.evaluate(f"(async () => JSON.stringify((await ({expression})) ?? null))()")
        return json.loads(text)

    def click(self, selector, seconds=15):
        """In its middle, as soon as it can be seen and is enabled."""
        find = f"""(() => {{
            const one = document.querySelector({json.dumps(selector)});
            if (!one || one.disabled || !one.checkVisibility()) return null;
            one.scrollIntoView({{ block: "center", behavior: "instant" }});
            const box = one.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        self.tongue.press(*wait_for(lambda: self.js(find), seconds, f"{selector} to click on in {self.name}"))

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)}).textContent")

    def picture(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.tongue.picture()))

    def output(self):
        return (self.home / "log").read_text(errors="replace")[-3000:]


@contextlib.contextmanager
def driven(host, name, trusted=None, script=""):
    """One in the namespace of `host`, that trusts a certificate of PEM and runs `script` before each page's own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        command = BROWSERS[name](home, "about:blank")
        tongue = {"chromium": Chromium, "firefox": Firefox}[name]
        if trusted is not None:
            trust(home / ("profile" if name == "firefox" else ".pki/nssdb"), trusted)
        with open(home / "log", "w") as log:
            browser = host.start(
                *["timeout", "--signal=KILL", LONGEST_S, command[0], *tongue.FLAGS, *command[1:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"},
            )
        try:
            one = Driven(name, tongue(host, home), home)
            if script:
                one.tongue.before_each_page(script)
            yield one
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
