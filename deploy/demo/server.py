#!/usr/bin/python3
"""The demo's page, its signalling and its credentials: one small server.

    GET  /          the page
    POST /rooms     makes a room: {"room", "link", "qr"}
    GET  /signal    WebSocket. The first message joins a room; then each "signal" goes to the other one in it
    POST /turn      short-lived credentials of the relay, for who is in a room ("Authorization: Bearer TOKEN")

The secret that signs credentials stays here. Rooms, tokens and credentials are in no log, and in no URL that a server sees.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import io
import json
import logging
import mimetypes
import os
import pwd
import signal
import ssl
import sys
import time
from pathlib import Path

import segno
from aiohttp import WSCloseCode, WSMsgType, web

from rooms import Bucket, Refused, Rooms

PAGE = Path(__file__).resolve().parent / "page"
MESSAGE_BYTES = 64 * 1024
# What waits for a reader who is slow.
QUEUE_BYTES = 256 * 1024
JOIN_S = 10
MISTAKES = 5
# An allocation lives on by its refreshes when these are over; the page fetches new ones for each restart of ICE.
CREDENTIALS_S = 600
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
log = logging.getLogger("demo")


def credentials(secret, name, now):
    """As coturn's `use-auth-secret` and Turnpike's `rest_secrets` have it: user "TIME:NAME", HMAC-SHA1 of it."""
    user = f"{int(now) + CREDENTIALS_S}:{name}"
    password = base64.b64encode(hmac.new(secret, user.encode(), hashlib.sha1).digest()).decode()
    return {"username": user, "credential": password}


class Socket:
    """One connection. What is sent to it waits in a queue of bounded length: a slow reader stops nobody else."""

    def __init__(self):
        self.web = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES, heartbeat=20)
        self.waiting, self.bytes = asyncio.Queue(), 0
        self.messages = Bucket(300, 30)
        self.ended = None

    def send(self, **message):
        text = json.dumps(message)
        if self.bytes + len(text) > QUEUE_BYTES:
            self.end(WSCloseCode.TRY_AGAIN_LATER, "you read too slowly")
            return
        self.bytes += len(text)
        self.waiting.put_nowait(text)

    def end(self, code, words):
        if self.ended is None:
            self.ended = (code, words)
            self.waiting.put_nowait(None)

    async def write(self):
        while (text := await self.waiting.get()) is not None:
            await self.web.send_str(text)
            self.bytes -= len(text)
        code, words = self.ended
        await self.web.close(code=code, message=words.encode())


class Server:
    def __init__(self, secret, turn_urls):
        self.secret, self.turn_urls = secret, turn_urls
        self.rooms = Rooms()
        self.files = {path.name: (path.read_bytes(), kind_of(path.name)) for path in PAGE.iterdir() if path.is_file()}

    def application(self):
        app = web.Application(client_max_size=4096, middlewares=[words_for_refusals])
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/healthz", self.health),
                web.post("/rooms", self.make_room),
                web.post("/turn", self.turn),
                web.get("/signal", self.signal),
                web.get("/{name}", self.page),
            ]
        )
        app.on_response_prepare.append(add_headers)
        app.cleanup_ctx.append(self.keep_tidy)
        return app

    async def keep_tidy(self, _):
        async def forever():
            while True:
                await asyncio.sleep(15)
                gone, ended = self.rooms.tidy(time.monotonic())
                for member in gone:
                    tell_partner(member, "none")
                for socket in ended:
                    socket.end(WSCloseCode.GOING_AWAY, "the room has ended")

        task = asyncio.create_task(forever())
        yield
        task.cancel()

    async def page(self, request):
        body, kind = self.files.get(request.match_info.get("name", "index.html"), (None, None))
        if body is None:
            raise web.HTTPNotFound()
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def health(self, _):
        return web.json_response({"rooms": len(self.rooms.rooms), "people": len(self.rooms.members)})

    async def make_room(self, request):
        origin = own_origin(request)
        room = self.rooms.make(self.rooms.source(request.remote), time.monotonic())
        log.info("a room was made: %d now", len(self.rooms.rooms))
        link = f"{origin}/#{room.id}"
        image = io.BytesIO()
        segno.make(link, error="m").save(image, kind="svg", border=2, xmldecl=False, nl=False, omitsize=True)
        return web.json_response({"room": room.id, "link": link, "qr": image.getvalue().decode()}, status=201)

    async def turn(self, request):
        source, token = self.rooms.source(request.remote), request.headers.get("Authorization", "")
        member = self.rooms.member(token.removeprefix("Bearer "), source, time.monotonic())
        given = credentials(self.secret, member.name, time.time())
        answer = web.json_response({"iceServers": [{"urls": self.turn_urls, **given}], "ttl": CREDENTIALS_S})
        # Who has another network asks by the connection of the old one, where it is kept, and waits for nothing.
        answer.force_close()
        return answer

    async def signal(self, request):
        own_origin(request)
        source, counted = self.rooms.source(request.remote), False
        socket, member = Socket(), None
        await socket.web.prepare(request)
        writer = asyncio.create_task(socket.write())
        try:
            self.rooms.open_socket(source)
            counted = True
            member = await self.join(socket, source)
            if member:
                await self.listen(socket, member)
            socket.end(WSCloseCode.OK, "")
            await asyncio.wait([writer], timeout=5)
        except Refused as refused:
            socket.send(type="error", code=refused.code, text=refused.text)
            socket.end(WSCloseCode.POLICY_VIOLATION, refused.code)
            await asyncio.wait([writer], timeout=5)
        finally:
            writer.cancel()
            if counted:
                self.rooms.close_socket(source)
            if member and member.socket is socket:
                self.rooms.away(member, socket, time.monotonic())
                tell_partner(member, "away")
        return socket.web

    async def join(self, socket, source):
        """The member that the first message makes; None for who says nothing."""
        try:
            message = await asyncio.wait_for(socket.web.receive(), JOIN_S)
        except asyncio.TimeoutError:
            raise Refused("silent", "Nothing came: the first message must join a room") from None
        if message.type != WSMsgType.TEXT:
            return None
        words = parse(message.data)
        if words["type"] != "join" or not isinstance(words.get("room"), str):
            raise Refused("not_joined", "The first message must join a room")
        now = time.monotonic()
        member, before = self.rooms.join(source, words["room"], str(words.get("token")), socket, now)
        if before:
            before.end(WSCloseCode.OK, "replaced by a newer connection")
        partner = member.partner
        here = bool(partner and partner.socket)
        socket.send(type="joined", token=member.token, first=member.seat == 0, partner="here" if here else "none")
        tell_partner(member, "here")
        log.info("somebody joined: %d in rooms", len(self.rooms.members))
        return member

    async def listen(self, socket, member):
        mistakes = 0
        async for message in socket.web:
            if message.type != WSMsgType.TEXT:
                raise Refused("not_text", "Messages are JSON in text")
            if not socket.messages.take(time.monotonic()):
                raise Refused("too_fast", "Too many messages: please reload the page")
            if member.socket is not socket:
                return
            try:
                try:
                    if not self.obey(socket, member, parse(message.data)):
                        return
                except RecursionError:  # what can just be read can't be passed on in one level more
                    raise Refused("bad_message", "Messages have few levels") from None
            except Refused as refused:
                mistakes += 1
                if mistakes >= MISTAKES:
                    raise
                socket.send(type="error", code=refused.code, text=refused.text)

    def obey(self, socket, member, words):
        """False when it was the last one."""
        kind = words["type"]
        if kind == "ping":
            socket.send(type="pong")
        elif kind == "signal":
            if not isinstance(words.get("data"), dict):
                raise Refused("bad_message", "`data` of a signal is an object")
            if member.partner and member.partner.socket:
                member.partner.socket.send(type="signal", data=words["data"])
            else:
                socket.send(type="partner", partner="away" if member.partner else "none")
        elif kind == "leave":
            tell_partner(member, "none")
            self.rooms.leave(member, time.monotonic())
            return False
        else:
            raise Refused("unknown_type", "There are messages of type signal, ping and leave")
        return True


def tell_partner(member, what):
    if member.partner and member.partner.socket:
        member.partner.socket.send(type="partner", partner=what)


def parse(text):
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("bad_message", "Messages are JSON objects") from None
    if not isinstance(words, dict) or not isinstance(words.get("type"), str):
        raise Refused("bad_message", "Messages are JSON objects with a `type`")
    return words


def own_origin(request):
    """Refuses other sites' pages: what they would do here is done from their visitors' addresses."""
    own = f"{'https' if request.secure else 'http'}://{request.host}"
    if request.headers.get("Origin", own) != own:
        raise Refused("other_site", "This is for this server's own page alone")
    return own


@web.middleware
async def words_for_refusals(request, handler):
    try:
        return await handler(request)
    except Refused as refused:
        log.info("refused: %s", refused.code)
        return web.json_response({"error": refused.code, "text": refused.text}, status=refused.status)


async def add_headers(_, response):
    response.headers.update(HEADERS)
    response.headers["Server"] = "turnpike-demo"


def kind_of(name):
    return "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]


def become(user):
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


async def serve(options, secret):
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.certificate.split(",", 1))
    # The page's own files come in one go; what is idle is not for later (as in turn() above).
    runner = web.AppRunner(Server(secret, options.turn).application(), access_log=None, keepalive_timeout=2)
    await runner.setup()
    for listen in options.listen:
        host, _, port = listen.rpartition(":")
        await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context, shutdown_timeout=1).start()
    if options.user:
        become(options.user)
    log.info("ready")
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()
    await runner.cleanup()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", action="append", required=True, help="ADDRESS:PORT; more than once if need be")
    parser.add_argument("--certificate", help="CHAIN,KEY: serves https")
    parser.add_argument("--turn", action="append", required=True, help="turn:HOST:PORT?transport=…; more than once")
    parser.add_argument("--secret-file", required=True, help="what the relay has as rest_secrets; - is standard input")
    parser.add_argument("--user", help="becomes this user once it listens")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    text = sys.stdin.read() if options.secret_file == "-" else Path(options.secret_file).read_text()
    secret = text.strip().encode()
    if len(secret) < 16:
        parser.error("the secret has fewer than 16 characters")
    asyncio.run(serve(options, secret))


if __name__ == "__main__":
    main()
