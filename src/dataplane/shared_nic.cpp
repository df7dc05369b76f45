// The XDP program with its maps, or a rule of nftables where there is none, each undone at the
// end.
#include "dataplane/shared_nic.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "xdp_filter_object.h"

namespace turnpike::dataplane {
namespace {

// As in xdp_filter.bpf.c.
struct MapAddress {
  std::array<std::uint8_t, 16> bytes{};
  std::uint32_t family = 0;
};
struct MapListener {
  MapAddress address;
  std::uint32_t port = 0;
};
constexpr std::size_t kMaxRelayed = 256;
constexpr std::size_t kBitmapBytes = kMaxRelayed * 65536 / 8;
// The kernel cuts a program's name to 15 characters.
constexpr const char* kProgramName = "turnpike_filter";
constexpr const char* kLivePorts = "tpk_live_ports";
constexpr const char* kTablePrefix = "inet turnpike_";  // and the interface's index

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

MapAddress to_map(const Address& address) {
  return {address.bytes, address.family == Family::kIpv4 ? 4U : 6U};
}

[[noreturn]] void fail(const std::string& interface, const std::string& what) {
  throw std::runtime_error("interface " + interface + ": " + what);
}

std::uint32_t attached_program(unsigned index) {
  std::uint32_t id = 0;
  return bpf_xdp_query_id(static_cast<int>(index), 0, &id) == 0 ? id : 0;
}

bpf_prog_info program_info(int fd, std::array<std::uint32_t, 16>& maps) {
  bpf_prog_info info{};
  info.nr_map_ids = maps.size();
  info.map_ids = reinterpret_cast<std::uint64_t>(maps.data());
  std::uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) info.nr_map_ids = 0;
  return info;
}

Descriptor map_called(const std::array<std::uint32_t, 16>& ids, std::size_t count,
                      const char* name) {
  for (std::size_t i = 0; i < count; ++i) {
    Descriptor fd(bpf_map_get_fd_by_id(ids[i]));
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (fd.get() >= 0 && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0 &&
        std::strcmp(info.name, name) == 0) {
      return fd;
    }
  }
  return Descriptor();
}

// By name and by a map no other program has; the tag differs from one version to the next.
bool is_ours(std::uint32_t program) {
  const Descriptor fd(bpf_prog_get_fd_by_id(program));
  std::array<std::uint32_t, 16> maps{};
  if (fd.get() < 0) return false;
  const bpf_prog_info info = program_info(fd.get(), maps);
  return std::strcmp(info.name, kProgramName) == 0 &&
         map_called(maps, info.nr_map_ids, kLivePorts).get() >= 0;
}

// Held as long as a relay works on the interface. The kernel frees the name with the process,
// however that ends, and keeps one set of names for each network namespace, as of interfaces.
Descriptor lock_interface(unsigned index) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string text = "turnpike/interface/" + std::to_string(index);
  text.copy(name.sun_path + 1, sizeof name.sun_path - 1);  // a zero first: no file
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  Descriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0 || bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0)
    return Descriptor();
  return fd;
}

struct NftResult {
  bool ok = false;
  std::string said;
};

// Runs nft with `script` as its input. Through files, not pipes, so that neither can wait for the
// other.
NftResult run_nft(const std::string& script) {
  const Descriptor input(memfd_create("turnpike-nft-input", MFD_CLOEXEC));
  const Descriptor output(memfd_create("turnpike-nft-output", MFD_CLOEXEC));
  const auto size = static_cast<ssize_t>(script.size());
  if (input.get() < 0 || output.get() < 0 ||
      pwrite(input.get(), script.data(), script.size(), 0) != size)
    return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.get(), STDERR_FILENO);
  std::string words[] = {"nft", "-f", "-"};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "nft", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return {false, std::string("nft: ") + std::strerror(error)};
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  NftResult result{WIFEXITED(status) && WEXITSTATUS(status) == 0, {}};
  std::array<char, 4096> part{};
  ssize_t got = 0;
  while ((got = pread(output.get(), part.data(), part.size(),
                      static_cast<off_t>(result.said.size()))) > 0)
    result.said.append(part.data(), static_cast<std::size_t>(got));
  return result;
}

std::string table_of(unsigned index) {
  return kTablePrefix + std::to_string(index);
}

// Programs and rules of relays that were killed: ours, on an interface that nobody has locked.
void remove_leftovers() {
  struct if_nameindex* all = if_nameindex();
  for (auto* one = all; one != nullptr && one->if_index != 0; ++one) {
    const std::uint32_t program = attached_program(one->if_index);
    if (program == 0 || !is_ours(program)) continue;
    const Descriptor lock = lock_interface(one->if_index);
    if (lock.get() >= 0) bpf_xdp_detach(static_cast<int>(one->if_index), 0, nullptr);
  }
  if_freenameindex(all);
  const std::string tables = run_nft("list tables inet\n").said;
  for (std::size_t at = tables.find(kTablePrefix); at != std::string::npos;
       at = tables.find(kTablePrefix, at + 1)) {
    const auto index = static_cast<unsigned>(
        std::strtoul(tables.c_str() + at + std::strlen(kTablePrefix), nullptr, 10));
    const Descriptor lock = lock_interface(index);
    if (lock.get() >= 0) run_nft("delete table " + table_of(index) + "\n");
  }
}

std::string drop_rule(const Address& address, const std::string& ports) {
  const char* family = address.family == Family::kIpv4 ? "ip" : "ip6";
  return std::string("    ") + family + " daddr " + address.to_string() + " udp dport " + ports +
         " drop\n";
}

// The kernel's "port unreachable" about a datagram to these ports, which the error quotes behind
// its own 8 bytes: protocol and destination port, as bits from the ICMP header on.
std::string silence_rule(const Address& address, const std::string& ports) {
  const bool v4 = address.family == Family::kIpv4;
  const std::string to = address.to_string();
  return v4 ? "    ip saddr " + to +
                  " icmp type destination-unreachable icmp code port-unreachable"
                  " @th,136,8 17 @th,240,16 " +
                  ports + " drop\n"
            : "    ip6 saddr " + to +
                  " icmpv6 type destination-unreachable icmpv6 code port-unreachable"
                  " @th,112,8 17 @th,400,16 " +
                  ports + " drop\n";
}

}  // namespace

struct SharedNic::Impl {
  std::string interface;
  std::vector<Endpoint> listeners;
  std::vector<RelayedAddress> relayed;
  unsigned index = 0;
  Descriptor program_file;
  std::uint32_t own_program = 0;  // the number of ours, once it is attached
  Descriptor lock;
  bool has_rules = false;
  void* bitmap = MAP_FAILED;

  Descriptor map_of(const std::array<std::uint32_t, 16>& ids, std::size_t count,
                    const char* name) const {
    Descriptor fd = map_called(ids, count, name);
    if (fd.get() < 0) fail(interface, std::string("the attached XDP program has no map ") + name);
    return fd;
  }

  void check_program() const;
  void add_rules(Mode mode, PortRange relay_ports);
  void write_program();
};

void SharedNic::Impl::check_program() const {
  const std::uint32_t program = attached_program(index);
  if (program == 0) return;
  fail(interface, "another XDP program (id " + std::to_string(program) +
                      ") is attached; if it can go: ip link set dev " + interface + " xdp off");
}

// Two chains. What comes in on a packet socket's interface is kept from the kernel, which would do
// the work twice; packet sockets see a frame before any hook. Later fragments have no ports:
// without their first the kernel never has a whole datagram to answer; and where conntrack
// reassembles, it does so before raw prerouting.
//
// And whatever reaches the kernel all the same, it does not tell that nobody listens: on af_packet
// what comes by a VLAN's interface, on af_xdp what is for a relay port that nobody has, by which a
// scan would count the calls. So sockets of the host's own in this range still get their datagrams.
void SharedNic::Impl::add_rules(Mode mode, PortRange relay_ports) {
  const std::string ports = std::to_string(relay_ports.min) + "-" + std::to_string(relay_ports.max);
  std::string keep, silence;
  for (const Endpoint& listener : listeners) {
    keep += drop_rule(listener.address, std::to_string(listener.port));
    silence += silence_rule(listener.address, std::to_string(listener.port));
  }
  for (const RelayedAddress& one : relayed) {
    keep += drop_rule(one.internal, ports);
    silence += silence_rule(one.internal, ports);
  }
  std::string script = "table " + table_of(index) + " {\n";
  if (mode == Mode::kPacket) {
    script += "  chain relay {\n    type filter hook prerouting priority raw;\n    iif != " +
              std::to_string(index) + " accept\n" + keep + "  }\n";
  }
  script += "  chain silence {\n    type filter hook output priority raw;\n    oif lo accept\n" +
            silence + "  }\n}\n";
  const NftResult result = run_nft(script);
  has_rules = result.ok;
  if (result.ok || mode == Mode::kXdp) return;
  fail(interface,
       "nft could not add table " + table_of(index) + " (is nftables installed?): " + result.said);
}

void SharedNic::Impl::write_program() {
  program_file = Descriptor(memfd_create("turnpike-xdp-filter", MFD_CLOEXEC));
  const auto size = static_cast<ssize_t>(sizeof kXdpFilterObject);
  if (program_file.get() < 0 ||
      write(program_file.get(), kXdpFilterObject, sizeof kXdpFilterObject) != size) {
    fail(interface, "no memory for the XDP filter");
  }
}

SharedNic::SharedNic(std::string interface, Mode mode, const std::vector<Endpoint>& listeners,
                     const std::vector<RelayedAddress>& relayed, PortRange relay_ports)
    : impl_(std::make_unique<Impl>()) {
  impl_->interface = std::move(interface);
  impl_->listeners = listeners;
  impl_->relayed = relayed;
  impl_->index = if_nametoindex(impl_->interface.c_str());
  if (impl_->index == 0)
    fail(impl_->interface, "there is no such interface; ip link lists those there are");
  if (relayed.size() > kMaxRelayed) fail(impl_->interface, "more than 256 relayed addresses");
  remove_leftovers();
  impl_->lock = lock_interface(impl_->index);
  if (impl_->lock.get() < 0)
    fail(impl_->interface, "another Turnpike works on it; stop that one first");
  if (mode == Mode::kXdp) {
    impl_->check_program();
    impl_->write_program();
  }
  impl_->add_rules(mode, relay_ports);
}

SharedNic::~SharedNic() {
  if (impl_->bitmap != MAP_FAILED) munmap(impl_->bitmap, kBitmapBytes);
  if (impl_->has_rules) run_nft("delete table " + table_of(impl_->index) + "\n");
  if (impl_->program_file.get() < 0) return;
  const std::uint32_t program = attached_program(impl_->index);
  // By its number where it is known: looking into a program takes a capability that is gone by now.
  const bool ours = program != 0 && (program == impl_->own_program || is_ours(program));
  if (ours) bpf_xdp_detach(static_cast<int>(impl_->index), 0, nullptr);
}

std::string SharedNic::program_path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(impl_->program_file.get());
}

bool SharedNic::is_silent() const {
  return impl_->has_rules;
}

void SharedNic::open_maps() {
  const std::uint32_t program = attached_program(impl_->index);
  if (program == 0 || !is_ours(program))
    fail(impl_->interface, "the driver did not attach the XDP filter");
  impl_->own_program = program;
  const Descriptor fd(bpf_prog_get_fd_by_id(program));
  std::array<std::uint32_t, 16> ids{};
  const std::size_t count = program_info(fd.get(), ids).nr_map_ids;
  const Descriptor live = impl_->map_of(ids, count, kLivePorts);
  impl_->bitmap = mmap(nullptr, kBitmapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, live.get(), 0);
  if (impl_->bitmap == MAP_FAILED)
    fail(impl_->interface, std::string("mmap of the XDP filter's ports: ") + std::strerror(errno));

  const std::uint8_t yes = 1;
  const Descriptor here = impl_->map_of(ids, count, "tpk_addresses");
  const auto put = [&](const Address& address) {
    const MapAddress key = to_map(address);
    if (bpf_map_update_elem(here.get(), &key, &yes, BPF_ANY) != 0)
      fail(impl_->interface, "the XDP filter takes no address");
  };
  for (const RelayedAddress& relayed : impl_->relayed)
    put(relayed.internal);
  for (const Endpoint& listener : impl_->listeners)
    put(listener.address);
  const Descriptor addresses = impl_->map_of(ids, count, "tpk_relayed");
  for (std::uint32_t i = 0; i < impl_->relayed.size(); ++i) {
    const MapAddress key = to_map(impl_->relayed[i].internal);
    if (bpf_map_update_elem(addresses.get(), &key, &i, BPF_ANY) != 0)
      fail(impl_->interface, "the XDP filter takes no relayed address");
  }
  const Descriptor endpoints = impl_->map_of(ids, count, "tpk_listeners");
  for (const Endpoint& listener : impl_->listeners) {
    const MapListener key{to_map(listener.address), listener.port};
    if (bpf_map_update_elem(endpoints.get(), &key, &yes, BPF_ANY) != 0)
      fail(impl_->interface, "the XDP filter takes no listener");
  }
}

std::atomic<std::uint64_t>* SharedNic::live_ports() {
  static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));
  return impl_->bitmap == MAP_FAILED ? nullptr
                                     : static_cast<std::atomic<std::uint64_t>*>(impl_->bitmap);
}

namespace {

bool ask_ethtool(const std::string& interface, void* question) {
  const Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(question);
  return fd.get() >= 0 && ioctl(fd.get(), SIOCETHTOOL, &request) == 0;
}

}  // namespace

InterfaceChannels interface_channels(const std::string& interface) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (!ask_ethtool(interface, &channels)) return {};
  return {std::max(1U, channels.combined_count), channels.rx_count};
}

bool strips_vlan_tags(const std::string& interface) {
  ethtool_value flags{};
  flags.cmd = ETHTOOL_GFLAGS;
  return ask_ethtool(interface, &flags) && (flags.data & ETH_FLAG_RXVLAN) != 0;
}

}  // namespace turnpike::dataplane
