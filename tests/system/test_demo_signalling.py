"""The demo's signalling server by itself: who gets credentials, who gets into a room, and what whoever means harm gets."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import websocket

from lab import wait_for

DEMO = Path(__file__).resolve().parents[2] / "deploy" / "demo"
SECRET = "a secret of the tests, long enough"
TURN = "turn:turn.example.org:3478"

sys.path.insert(0, str(DEMO))
import rooms  # noqa: E402  the demo is no package


class Server:
    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "log"
        self.process = subprocess.Popen(
            ["/usr/bin/python3", DEMO / "server.py", "--listen", f"127.0.0.1:{self.port}"]
            + ["--turn", TURN, "--secret-file", "-", *(["--user", "nobody"] if os.geteuid() == 0 else [])],
            stdin=subprocess.PIPE,
            stdout=open(self.log, "w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.process.stdin.write(SECRET.encode())
        self.process.stdin.close()
        wait_for(lambda: "ready" in self.log.read_text(), 30, "the server")

    def ask(self, method, path, headers=None, body=None):
        """(status, JSON or bytes, headers)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.headers.get_content_type()
            return answer.status, json.loads(data) if kind == "application/json" else data, answer.headers
        finally:
            connection.close()

    def make_room(self):
        status, words, _ = self.ask("POST", "/rooms")
        assert status == 201, words
        return words["room"]

    def turn(self, token):
        return self.ask("POST", "/turn", {"Authorization": f"Bearer {token}"})[:2]

    def socket(self, **options):
        return websocket.create_connection(f"ws://127.0.0.1:{self.port}/signal", timeout=20, **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from serving(tmp_path_factory.mktemp("signalling"))


@pytest.fixture
def fresh_server(tmp_path):
    """One whose limits nobody has used yet."""
    yield from serving(tmp_path)


def serving(folder):
    one = Server(folder)
    yield one
    one.process.terminate()
    assert one.process.wait(timeout=15) == 0, one.log.read_text()


def say(one, **words):
    one.send(json.dumps(words))


def hear(one):
    return json.loads(one.recv())


def join(server, room, token=None):
    """(socket, what it was told)"""
    one = server.socket()
    say(one, type="join", room=room, token=token)
    return one, hear(one)


def closed(one):
    """The code with which the server has closed it."""
    opcode, data = one.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return int.from_bytes(data[:2], "big")


def test_two_meet_and_what_one_says_the_other_hears(server):
    room = server.make_room()
    a, told = join(server, room)
    assert told["type"] == "joined" and told["first"] and told["partner"] == "none"
    b, told = join(server, room)
    assert not told["first"] and told["partner"] == "here"
    assert hear(a) == {"type": "partner", "partner": "here"}
    say(b, type="signal", data={"kind": "offer", "sdp": "é" * 1000})
    assert hear(a) == {"type": "signal", "data": {"kind": "offer", "sdp": "é" * 1000}}
    say(a, type="ping")
    assert hear(a) == {"type": "pong"}
    b.close()
    assert hear(a) == {"type": "partner", "partner": "away"}
    say(a, type="signal", data={})
    assert hear(a) == {"type": "partner", "partner": "away"}


def test_a_third_is_refused_with_words(server):
    room = server.make_room()
    (a, _), (b, _) = join(server, room), join(server, room)
    c, told = join(server, room)
    assert (told["type"], told["code"]) == ("error", "room_full") and "two people" in told["text"]
    assert closed(c) == 1008
    say(b, type="leave")
    assert hear(a) == {"type": "partner", "partner": "here"} and hear(a) == {"type": "partner", "partner": "none"}
    assert join(server, room)[1]["type"] == "joined"


def test_a_seat_is_kept_for_who_has_lost_the_connection(server):
    room = server.make_room()
    a, told = join(server, room)
    b, _ = join(server, room)
    hear(a)
    # It may come back before the server has noticed that it was gone.
    again, once_more = join(server, room, told["token"])
    assert once_more["type"] == "joined" and once_more["first"] and once_more["token"] == told["token"]
    assert closed(a) == 1000
    assert hear(b) == {"type": "partner", "partner": "here"}
    say(b, type="signal", data={"to": "the new one"})
    assert hear(again)["data"] == {"to": "the new one"}
    # A seat of another room is none here.
    other = server.make_room()
    (_, one), (_, two) = join(server, other, told["token"]), join(server, other)
    assert one["token"] != told["token"] and two["type"] == "joined"


def test_credentials_are_for_members_and_short_lived(server):
    assert server.turn("") == server.turn("guessed") and server.turn("")[0] == 403
    one, told = join(server, server.make_room())
    status, words = server.turn(told["token"])
    assert status == 200 and words["ttl"] <= 600
    (given,) = words["iceServers"]
    assert given["urls"] == [TURN]
    user = given["username"]
    assert 0 < int(user.split(":")[0]) - time.time() <= 600
    assert base64.b64decode(given["credential"]) == hmac.new(SECRET.encode(), user.encode(), hashlib.sha1).digest()
    # One member is one user, whose quota holds whatever credentials it fetches.
    assert server.turn(told["token"])[1]["iceServers"][0]["username"].split(":")[1] == user.split(":")[1]
    say(one, type="leave")
    wait_for(lambda: server.turn(told["token"])[0] == 403, 5, "no credentials for who has left")


def test_credentials_are_limited(fresh_server):
    _, told = join(fresh_server, fresh_server.make_room())
    answers = [fresh_server.turn(told["token"]) for _ in range(40)]
    assert answers[0][0] == 200 and answers[-1][0] == 429 and "wait" in answers[-1][1]["text"]


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"join"', "{}", '{"type": 1}', "[" * 5000, '{"type": "join"}'])
def test_bad_first_messages(server, text):
    one = server.socket()
    one.send(text)
    told = hear(one)
    assert told["type"] == "error" and told["text"]
    assert closed(one) == 1008


def test_what_is_too_deep_to_be_passed_on_is_refused(fresh_server):
    """At one depth a message can just be read, and not be written any more."""
    room = fresh_server.make_room()
    a, _ = join(fresh_server, room)
    b, told = join(fresh_server, room)
    hear(a)
    for levels in range(1000, 900, -1):
        b.send('{"type": "signal", "data": ' + '{"a": ' * levels + "1" + "}" * levels + "}")
        say(b, type="ping")
        if hear(b)["type"] == "pong":  # nothing was wrong with it
            break
        b.close()
        b, told = join(fresh_server, room, told["token"])
    else:
        raise AssertionError("none was passed on")
    while not (heard := a.recv()).startswith('{"type": "signal"'):
        assert json.loads(heard)["type"] == "partner"
    assert "Traceback" not in fresh_server.log.read_text()


def test_unknown_messages_are_answered_and_then_no_more(server):
    one, _ = join(server, server.make_room())
    for text in ('{"type": "explode"}', "{", '{"type": "signal", "data": "text"}', '{"type": "join"}'):
        one.send(text)
        assert hear(one)["type"] == "error"
    say(one, type="ping")
    assert hear(one) == {"type": "pong"}
    say(one, type="explode")
    assert hear(one)["code"] == "unknown_type" and closed(one) == 1008


def test_huge_messages_and_floods_end_the_connection_alone(server):
    room = server.make_room()
    a, _ = join(server, room)
    b, _ = join(server, room)
    hear(a)
    say(b, type="signal", data={"text": "x" * 100_000})
    assert closed(b) == 1009
    assert hear(a) == {"type": "partner", "partner": "away"}
    c, _ = join(server, server.make_room())
    heard = []
    with contextlib.suppress(OSError, websocket.WebSocketException, ValueError):
        # A few too many. More would meet a closed connection, whose reset takes the last answer with it.
        for _ in range(340):
            say(c, type="signal", data={})
        while True:
            heard.append(hear(c))
    assert heard[-1].get("code") == "too_fast", heard[-1]
    say(a, type="ping")
    assert hear(a) == {"type": "pong"}
    status, _, _ = server.ask("POST", "/rooms", body="x" * 100_000)
    assert status in (201, 413)


def test_who_reads_nothing_costs_a_bounded_memory(fresh_server):
    room = fresh_server.make_room()
    slow, _ = join(fresh_server, room)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    fast, _ = join(fresh_server, room)
    before = memory_of(fresh_server.process.pid)
    for number in range(250):
        say(fast, type="signal", data={"text": "x" * 60_000})
    say(fast, type="ping")
    while hear(fast)["type"] != "pong":
        pass
    assert memory_of(fresh_server.process.pid) - before < 16e6


def memory_of(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_rooms_and_connections_are_limited_by_source(fresh_server):
    answers = [fresh_server.ask("POST", "/rooms")[:2] for _ in range(25)]
    assert answers[0][0] == 201 and answers[-1][0] == 429 and "wait" in answers[-1][1]["text"]
    room = answers[0][1]["room"]
    open_ones = [fresh_server.socket() for _ in range(rooms.SOCKETS_PER_SOURCE)]
    # These haven't said anything yet, and have ten seconds to.
    one_more = fresh_server.socket()
    assert hear(one_more)["code"] == "too_many_connections" and closed(one_more) == 1008
    for one in open_ones:
        one.close()
    wait_for(lambda: join(fresh_server, room)[1].get("type") == "joined", 10, "room for another")


def test_other_sites_pages_get_nothing(server):
    headers = {"Origin": "https://other.example"}
    assert server.ask("POST", "/rooms", headers)[0] == 403
    with pytest.raises(websocket.WebSocketBadStatusException):
        server.socket(origin="https://other.example")


def test_files_of_the_page_and_no_others(server):
    for name in ("/", "/main.js", "/style.css"):
        status, body, headers = server.ask("GET", name)
        assert status == 200 and body and "default-src 'self'" in headers["Content-Security-Policy"]
    for name in ("/server.py", "/../server.py", "/%2e%2e/server.py", "/page/main.js", "/etc/passwd", "//etc/passwd"):
        assert server.ask("GET", name)[0] == 404, name


def test_nothing_secret_is_in_page_or_log(fresh_server):
    room = fresh_server.make_room()
    one, told = join(fresh_server, room)
    _, given = fresh_server.turn(told["token"])
    join(fresh_server, room + "x")
    fresh_server.turn("guessed-token")
    log = fresh_server.log.read_text()
    secret_ones = (SECRET, room, told["token"], given["iceServers"][0]["credential"], "guessed-token", "127.0.0.1")
    assert log and not [text for text in secret_ones if text in log]
    for path in (DEMO / "page").iterdir():
        assert "secret" not in path.read_text().lower(), path


def test_what_is_over_is_forgotten():
    """By the clock of rooms.py, which is an argument."""
    all_rooms = rooms.Rooms()
    source = all_rooms.source("192.0.2.1")
    room = all_rooms.make(source, 0)
    member, _ = all_rooms.join(source, room.id, None, "socket", 1)
    assert all_rooms.tidy(1800) == ([], []) and all_rooms.members
    all_rooms.away(member, "socket", 3600)
    assert all_rooms.join(source, room.id, member.token, "newer", 3650)[0] is member
    all_rooms.away(member, "socket", 3651)  # the old connection's end is not the new one's
    assert member.socket == "newer"
    all_rooms.away(member, "newer", 3700)
    assert all_rooms.tidy(3700 + rooms.AWAY_S + 1) == ([member], [])
    assert not all_rooms.members and all_rooms.rooms
    all_rooms.tidy(3700 + rooms.EMPTY_S + 1)
    assert not all_rooms.rooms and source.rooms == 0
    # A day is the longest for any room; who is there is told.
    room = all_rooms.make(source, 10_000)
    member, _ = all_rooms.join(source, room.id, None, "socket", 10_000)
    assert all_rooms.tidy(10_001 + rooms.OLDEST_S) == ([member], ["socket"]) and not all_rooms.rooms


def test_sources_are_bounded_and_a_network_is_one():
    assert rooms.source_of("2001:db8::1") == rooms.source_of("2001:db8::ffff") != rooms.source_of("2001:db8:0:1::1")
    assert rooms.source_of("::ffff:192.0.2.1") == rooms.source_of("192.0.2.1")
    all_rooms = rooms.Rooms()
    kept = all_rooms.source("192.0.2.1")
    all_rooms.make(kept, 0)
    for number in range(rooms.SOURCES + 100):
        all_rooms.source(f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}")
    assert len(all_rooms.sources) <= rooms.SOURCES and all_rooms.source("192.0.2.1") is kept
