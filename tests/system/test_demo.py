"""deploy/demo in whole browsers, by clicks: two people see and hear each other through this node, and go on doing so when the
relay is started again and when a network changes. Pictures of the page are kept (demo.py says where)."""

import contextlib
import time

import pytest

from demo import PICTURES, SECRET, URL, Demo
from lab import wait_for

# What is `long` here costs some tenths of a minute each, on two cores some more: a machine that lands changes runs the others.
LONG = pytest.mark.long
PAIRS = [
    ("chromium", "firefox"),
    pytest.param(("chromium", "chromium"), marks=LONG),
    pytest.param(("firefox", "firefox"), marks=LONG),
]
BACK_S = 10
SIZES = {"telephone": (390, 844), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def demo(lab, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        one = Demo(lab, tmp_path_factory.mktemp("demo"), stack)
        one.start_relay()
        one.start_server()
        yield one
        log = one.log.read_text()
        assert SECRET not in log and "turn.example.org/#" not in log and one.stop_server() == 0, log


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_a_call_through_the_relay(demo, names, way):
    with demo.call(names, way) as pages:
        for report in demo.reports(pages):
            assert report["types"] == ["relay", "relay"] and report["relayProtocol"] == way, report
        for page in pages:
            said = page.text("#path-sentence")
            assert said == f"Through the relay on both sides. You reach it by {way.upper()}.", said


@LONG
def test_the_best_way_is_through_one_relay(demo):
    """Who is behind nothing needs none, but can't reach the other's own address."""
    with demo.call(("chromium", "firefox"), "all") as pages:
        for report in demo.reports(pages):
            assert "relay" in report["types"], report


def test_hang_up_and_call_again(demo):
    with demo.call(("chromium", "firefox")) as pages:
        demo.hang_up(pages)
        pages[1].click("#call")
        demo.wait_for_media(pages, 30)


@LONG
def test_mute(demo):
    with demo.call(("chromium", "firefox")) as pages:
        for kind in ("audio", "video"):
            pages[0].click(f"#mute-{kind}")
            sent = f"connections.at(-1).getSenders().find((one) => one.track.kind === '{kind}').track.enabled"
            assert pages[0].js(sent) is False
            pages[0].click(f"#mute-{kind}")
            assert pages[0].js(sent) is True
        demo.wait_for_media(pages, 20)


@pytest.mark.parametrize(
    "names", [("chromium", "firefox"), pytest.param(("firefox", "chromium"), marks=LONG)], ids="-".join
)
def test_text_and_a_file(demo, names):
    with demo.call(names) as pages:
        for page, words in zip(pages, ("<b>Hello</b> & good day", "Good day, too")):
            page.js(f"document.querySelector('#text').value = {words!r}")
            page.click("#send")
            for other in pages:
                wait_for(lambda: words in other.text("#talk"), 15, f"{words} in {other.name}")
        assert pages[1].js("document.querySelectorAll('#talk b').length") == 0
        # More than waits in the channel, so that the sender has to wait.
        pages[0].js(
            """(() => {
                const all = new Uint8Array(1500000).map((_, i) => (i * 31) & 255);
                const files = new DataTransfer();
                files.items.add(new File([all], "a picture.bin"));
                const input = document.querySelector("#file");
                input.files = files.files;
                input.dispatchEvent(new Event("change"));
            })()"""
        )
        pages[1].click(".accept")
        wait_for(lambda: pages[1].js("document.querySelector('.save') !== null"), 50, "the file")
        same = """blobs.at(-1).arrayBuffer().then((all) => all.byteLength === 1500000
            && new Uint8Array(all).every((byte, i) => byte === ((i * 31) & 255)))"""
        assert pages[1].js(same)
        assert pages[1].js("document.querySelector('.save').download") == "a picture.bin"
        wait_for(lambda: "has arrived" in pages[0].text("#talk"), 10, "word of it")
        demo.wait_for_media(pages, 20)


def test_the_relay_is_started_again(demo):
    with demo.call(("chromium", "firefox")) as pages:
        demo.relay.stop()
        demo.start_relay()
        ready = time.monotonic()
        demo.wait_for_media(pages, BACK_S, frames=0)
        print(f"back after {time.monotonic() - ready:.1f} s")
        demo.wait_for_media(pages, 30)
        assert all(report["types"] == ["relay", "relay"] for report in demo.reports(pages))


@LONG
@pytest.mark.parametrize("whose", ["client", "peer"])
def test_a_network_changes(demo, lab, whose):
    """Of who has Chromium, or Firefox: another address, and nothing from or to the old one."""
    host, old, gateway = {
        "client": (lab.client, lab.CLIENT4, lab.SERVER4),
        "peer": (lab.peer, lab.PEER4, lab.RELAY4),
    }[whose]
    new = old.rpartition(".")[0] + ".77"
    with demo.call(("chromium", "firefox"), strands=True) as pages:
        try:
            move(host, old, new, gateway)
            changed = time.monotonic()
            time.sleep(2)  # what was under way has been seen
            demo.wait_for_media(pages, BACK_S - 2, frames=0)
            print(f"back after {time.monotonic() - changed:.1f} s")
            demo.wait_for_media(pages, 30)
        finally:
            move(host, new, old, gateway)


def move(host, old, new, gateway):
    host.ip("addr", "del", f"{old}/24", "dev", "eth0")
    host.ip("addr", "add", f"{new}/24", "dev", "eth0")
    host.ip("route", "replace", "default", "via", gateway)


@LONG
@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_the_relay_alone_is_checked(demo, lab, name):
    page = demo.browser(lab.client, name)
    with demo.explained([page]):
        page.open(f"{URL}#check")
        page.click("#check-start")
        wait_for(lambda: page.js("window.checked ?? null"), 60, "the check's end")
        found = {one["way"]: one for one in page.js("window.checked")}
        assert found.keys() == {"udp", "tcp", "tls"}
        for way, one in found.items():
            assert one["ok"] and one["relayProtocol"] == way.upper() and one["frames"] > 0, one
            assert one["lost"] <= one["sent"] // 10 and one["median"] > 0, one
        keep_pictures(page, f"check-{name}")
        wait_for(lambda: demo.allocations() <= demo.stranded, 10, "no allocation after the check")
    page.open("about:blank")


@LONG
def test_the_check_says_what_does_not_work(demo, lab):
    page = demo.browser(lab.client, "chromium")
    # Nobody gets to TLS.
    lab.client.exec("nft", "add table inet wall; add chain inet wall out { type filter hook output priority 0; }")
    lab.client.exec("nft", "add rule inet wall out tcp dport 5349 reject with tcp reset")
    try:
        with demo.explained([page]):
            page.open(URL)
            page.click("#check-start")
            wait_for(lambda: page.js("window.checked ?? null"), 60, "the check's end")
            assert [one["ok"] for one in page.js("window.checked")] == [True, True, False]
            assert page.text("#check-state") == "Doesn't work by TLS." and "701" in page.text("#check-ways")
            keep_pictures(page, "check-without-tls")
    finally:
        lab.client.exec("nft", "delete table inet wall")
        page.open("about:blank")


@LONG
@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_how_it_looks(demo, name):
    """Keeps pictures: before a call, waiting for one, and in one with everything unfolded."""
    with demo.call((name, "firefox" if name == "chromium" else "chromium")) as pages:
        page = pages[0]
        page.js("document.querySelector('details').open = true")
        page.js("document.querySelector('#text').value = 'Can you hear me?'")
        page.click("#send")
        time.sleep(8)
        keep_pictures(page, f"call-{name}")
        for size in SIZES.values():
            page.size(*size)
            assert page.js("document.documentElement.scrollWidth <= innerWidth"), f"wider than {size}"
        demo.hang_up(pages)
        keep_pictures(page, f"waiting-{name}")
        page.open("about:blank")
        page.open(URL)
        wait_for(lambda: page.js("document.querySelector('#start')?.disabled === false"), 15, "the page")
        keep_pictures(page, f"start-{name}")
        page.click("#start")
        pages[1].open("about:blank")
        pages[1].open(wait_for(lambda: page.js("document.querySelector('#link').value"), 20, "a link"))
        pages[1].click("#start")
        page.click("#call", 30)
        demo.wait_for_media(pages, 30)


def keep_pictures(page, name):
    for size, (width, height) in SIZES.items():
        page.size(width, height)
        page.picture(PICTURES / f"{name}-{size}.png")
    page.size(*SIZES["desktop"])
