// An interface shared with the kernel: what makes the kernel leave the relay's packets alone, and
// what gives them to us. On af_xdp an XDP filter hands over UDP for a listener or a live relay
// port, ICMP errors about such packets, and fragments of such or before their first; all else stays
// the kernel's. On
// af_packet, where the kernel sees every frame as well, an nftables table drops the relay's UDP
// before the kernel takes it. On both it keeps the kernel from telling that nobody listens.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "turnpike/address.h"
#include "turnpike/server.h"

namespace turnpike::dataplane {

class SharedNic {
 public:
  enum class Mode : std::uint8_t { kXdp, kPacket };

  // Removes what killed runs of ours left in this network namespace, first. Throws
  // std::runtime_error, with what to do, if the interface has another relay or somebody else's XDP
  // program, or on kPacket a rule can't be made. On kPacket the kernel gets no UDP to
  // `relay_ports`.
  SharedNic(std::string interface, Mode mode, const std::vector<Endpoint>& listeners,
            const std::vector<RelayedAddress>& relayed, PortRange relay_ports);
  // Removes program and rules.
  ~SharedNic();
  SharedNic(const SharedNic&) = delete;
  SharedNic& operator=(const SharedNic&) = delete;

  // False where nftables is missing: the kernel answers for relay ports that nobody has.
  bool is_silent() const;
  // kXdp: a path from which the driver can load the filter (its `xdp_prog=`).
  std::string program_path() const;
  // kXdp, after the driver has attached it: fills its maps.
  void open_maps();
  // kXdp, after open_maps(): one bit for each relay port, 65,536 to a relayed address in their
  // order; a set bit lets the port's packets in. nullptr on kPacket. Any thread may write.
  std::atomic<std::uint64_t>* live_ports();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The interface's channels, as ethtool -l shows them. DPDK's af_xdp driver can only use combined
// ones, and takes an interface without any for one of a single queue.
struct InterfaceChannels {
  unsigned combined = 1;  // at least 1
  unsigned receive_only = 0;
};
InterfaceChannels interface_channels(const std::string& interface);

// Whether the interface takes VLAN tags off what it receives, before an XDP program sees it
// (ethtool -k: rx-vlan-offload).
bool strips_vlan_tags(const std::string& interface);

}  // namespace turnpike::dataplane
