// What a pipeline is given at the start: ports, listeners, relayed addresses, keys and sizes. The
// same for all workers, and fixed for the process; what may change is in WorkerPolicy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/keyed_hash.h"
#include "turnpike/listener.h"
#include "turnpike/server.h"
#include "wire/dtls_cookie.h"
#include "wire/transaction_ids.h"

namespace turnpike::flow {

struct PortInfo {
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t mtu = 1500;
  bool sees_own_frames = false;  // af_packet: drop frames whose source MAC is ours
  // Of no NIC: a transport thread brings clients' messages, each in a frame as if it had come by
  // UDP, to listeners of this transport.
  std::optional<Transport> messages_of;
};

// Who is remembered to have used how much of a rate (source_buckets.h).
struct SourceTable {
  std::size_t sources = 16384;  // 256 KiB a worker
  HashKey key{};                // secret
};

class SharedMeters;

struct Setup {
  std::vector<PortInfo> ports;
  std::vector<Listener> listeners;
  std::vector<RelayedAddress> relayed;
  std::uint8_t shard_count = 1;
  SourceTable strangers, requests;
  TransactionIds::Key transaction_key{};  // secret: of indications' transaction ids
  wire::DtlsCookies::Key cookie_key{};    // secret
  SharedMeters* meters = nullptr;         // none: nothing is metered
  bool fast_lane = true;                  // false: to measure or test the general stages alone
};

}  // namespace turnpike::flow
