// What is counted of datagrams between workers and the relay's own host. Written by one thread,
// read by any.
#pragma once

#include "turnpike/counter.h"

namespace turnpike {

struct HostCounters {
  Counter in, out;           // datagrams of clients and peers on this host, and to them
  Counter sockets;           // of relayed transport addresses, now
  Counter lost_no_frame;     // from this host: no frame was left
  Counter lost_too_long;     // from this host: no frame holds it
  Counter lost_no_socket;    // to this host: the relayed transport address has no socket
  Counter lost_own_service;  // to or from a transport address of the relay itself
  Counter lost_refused;      // to this host: the kernel didn't take it
  Counter lost_overflow;     // from this host: the kernel's socket was full
  Counter no_socket;         // relayed transport addresses that could have none at first
  Counter missing;           // transport addresses, listeners too, that have none now
};

}  // namespace turnpike
