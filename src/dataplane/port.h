// One DPDK port, from its name in the configuration to its queues.
#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/device.h"
#include "dataplane/port_watch.h"
#include "dataplane/shared_nic.h"

namespace turnpike::dataplane {

// How many queues the port is to have. Throws std::runtime_error if its interface isn't there, is
// down or has other queues. Needs no EAL.
std::uint16_t wanted_queues(const PortSpec& spec, std::uint16_t workers);

// How many descriptors each of its rings has.
std::uint16_t descriptors_of(const PortSpec& spec);

class Port {
 public:
  // Makes the device. Throws std::runtime_error: which port, what is wrong, what to do.
  Port(std::size_t index, const PortSpec& spec, const Options& options);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // Queue i takes its buffers from pools[i].
  void configure(const std::vector<rte_mempool*>& pools);
  void start();
  void stop();

  std::uint16_t id() const { return id_; }
  std::uint16_t queues() const { return queues_; }
  const flow::PortInfo& info() const { return info_; }
  const std::string& name() const { return name_; }
  const std::string& description() const { return description_; }
  const PortSpec& spec() const { return spec_; }
  // The kernel has the interface too, and gets by itself what is not ours.
  bool shared() const {
    return spec_.driver == Driver::kAfXdp || spec_.driver == Driver::kAfPacket;
  }
  // Of a received frame whose checksum the device says nothing about.
  flow::Checksum untold_checksum() const {
    return spec_.driver == Driver::kPci || spec_.driver == Driver::kMemif
               ? flow::Checksum::kVerify
               : flow::Checksum::kMaybePartial;
  }
  PortWatch& watch() { return watch_; }
  // What the operator should know of it, once it is started.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // nullptr unless af_xdp.
  std::atomic<std::uint64_t>* live_ports() { return shared_ ? shared_->live_ports() : nullptr; }

  bool needs_wide_frames() const { return dataplane::needs_wide_frames(spec_.driver, spec_.mtu); }

 private:
  void make_device(std::size_t index, const Options& options);
  void read_info(const Options& options);
  void set_mtu(std::uint16_t device_most);
  void open_receive_filter();
  [[noreturn]] void fail(const std::string& what) const;

  PortSpec spec_;
  std::string name_;         // as in the configuration
  std::string device_name_;  // DPDK's
  std::string description_;
  std::uint16_t id_ = 0;
  std::uint16_t queues_ = 1;
  bool made_ = false;
  bool started_ = false;
  flow::PortInfo info_;
  DevicePlan plan_;
  std::vector<Address> addresses_;  // by which IPv6 neighbours may look for the port
  std::vector<std::string> warnings_;
  std::unique_ptr<SharedNic> shared_;
  PortWatch watch_;
};

}  // namespace turnpike::dataplane
