"""Rooms of two people, and how much one source may have of them. Nothing here reads a socket or a clock: time is an
argument, in seconds that only grow. Whatever is kept is bounded, by source and in all."""

import ipaddress
import secrets
from collections import OrderedDict

ROOMS = 5000
ROOMS_PER_SOURCE = 50
SOCKETS = 4000
SOCKETS_PER_SOURCE = 40
SOURCES = 10000
# A seat is kept so long for who has lost the connection, as by a change of networks.
AWAY_S = 60
# A room in which nobody is.
EMPTY_S = 1800
OLDEST_S = 24 * 3600


class Refused(Exception):
    """`code` is for programs, the text for people, `status` is HTTP's."""

    def __init__(self, code, text, status=403):
        super().__init__(text)
        self.code, self.text, self.status = code, text, status


class Bucket:
    """So many at once, and then so many in a second."""

    def __init__(self, burst, per_second):
        self.burst, self.per_second = burst, per_second
        self.left, self.at = burst, None

    def take(self, now):
        if self.at is not None:
            self.left = min(self.burst, self.left + (now - self.at) * self.per_second)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


def source_of(address):
    """Who has one address of an IPv6 network has all of its /64."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Source:
    def __init__(self):
        self.rooms = self.sockets = 0
        self.make = Bucket(20, 0.1)
        self.join = Bucket(60, 1)
        self.credentials = Bucket(120, 2)


class Member:
    """One of a room's two. `socket` is None while it is away; `name` may be told, `token` is its own secret."""

    def __init__(self, room, seat, now):
        self.room, self.seat = room, seat
        self.token, self.name = secrets.token_urlsafe(24), secrets.token_hex(8)
        self.socket, self.away_since = None, now
        self.credentials = Bucket(20, 0.5)

    @property
    def partner(self):
        return self.room.seats[1 - self.seat]


class Room:
    def __init__(self, source, now):
        self.id, self.source = secrets.token_urlsafe(16), source
        self.seats = [None, None]
        self.made, self.empty_since = now, now


class Rooms:
    def __init__(self):
        self.rooms, self.members = {}, {}
        self.sources = OrderedDict()
        self.sockets = 0

    def source(self, address):
        """Those that have nothing are forgotten, the longest unseen first."""
        key = source_of(address)
        found = self.sources.setdefault(key, Source())
        self.sources.move_to_end(key)
        if len(self.sources) > SOURCES:
            for old, one in self.sources.items():
                if not one.rooms and not one.sockets and old != key:
                    del self.sources[old]
                    break
            else:
                del self.sources[key]
                raise Refused("full", "This server has no place left: please try later", 503)
        return found

    def make(self, source, now):
        if source.rooms >= ROOMS_PER_SOURCE or not source.make.take(now):
            raise Refused("too_many_rooms", "Too many rooms from your address: please wait a little", 429)
        if len(self.rooms) >= ROOMS:
            raise Refused("full", "This server has no place left: please try later", 503)
        room = Room(source, now)
        self.rooms[room.id] = room
        source.rooms += 1
        return room

    def open_socket(self, source):
        if source.sockets >= SOCKETS_PER_SOURCE or self.sockets >= SOCKETS:
            raise Refused("too_many_connections", "Too many connections: close other pages of this demo", 429)
        source.sockets += 1
        self.sockets += 1

    def close_socket(self, source):
        source.sockets -= 1
        self.sockets -= 1

    def join(self, source, room_id, token, socket, now):
        """A seat, its own again for who shows its token. Gives the member and the socket that it had before."""
        if not source.join.take(now):
            raise Refused("too_fast", "Too many tries to join: please wait a little", 429)
        room = self.rooms.get(room_id)
        if room is None:
            raise Refused("no_room", "There is no such room: the link is mistyped, or the room has ended", 404)
        member = self.members.get(token)
        if member is None or member.room is not room:
            seat = next((i for i, one in enumerate(room.seats) if one is None), None)
            if seat is None:
                raise Refused("room_full", "There are two people in this room already", 403)
            member = room.seats[seat] = Member(room, seat, now)
            self.members[member.token] = member
        before, member.socket, room.empty_since = member.socket, socket, None
        return member, before

    def away(self, member, socket, now):
        """Its connection has ended; another may have taken its place before."""
        if member.socket is socket:
            member.socket, member.away_since = None, now
            self.note_empty(member.room, now)

    def leave(self, member, now):
        if self.members.pop(member.token, None):
            member.socket = None
            member.room.seats[member.seat] = None
            self.note_empty(member.room, now)

    def note_empty(self, room, now):
        if room.empty_since is None and not any(one and one.socket for one in room.seats):
            room.empty_since = now

    def member(self, token, source, now):
        """Who asks for credentials."""
        if not source.credentials.take(now):
            raise Refused("too_fast", "Too many requests from your address: please wait a little", 429)
        member = self.members.get(token)
        if member is None:
            raise Refused("no_member", "Only who is in a room gets credentials")
        if not member.credentials.take(now):
            raise Refused("too_fast", "Too many requests: please wait a little", 429)
        return member

    def tidy(self, now):
        """Ends what is over. Gives the members whose seats it took, and the sockets of those among them who were there still."""
        gone = [one for one in self.members.values() if one.socket is None and now - one.away_since > AWAY_S]
        ended = []
        for room in [*self.rooms.values()]:
            empty = room.empty_since is not None and now - room.empty_since > EMPTY_S
            if empty or now - room.made > OLDEST_S:
                left = [one for one in room.seats if one]
                ended += [one.socket for one in left if one.socket]
                gone += [one for one in left if one not in gone]
                room.source.rooms -= 1
                del self.rooms[room.id]
        for member in gone:
            self.leave(member, now)
        return gone, ended
