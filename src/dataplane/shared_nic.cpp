#include "dataplane/shared_nic.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
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

bool is_ours(std::uint32_t program) {
  const Descriptor fd(bpf_prog_get_fd_by_id(program));
  std::array<std::uint32_t, 16> maps{};
  return fd.get() >= 0 && std::strcmp(program_info(fd.get(), maps).name, kProgramName) == 0;
}

void detach_stale(const std::string& interface, unsigned index) {
  const std::uint32_t program = attached_program(index);
  if (program == 0) return;
  if (!is_ours(program)) {
    fail(interface, "another XDP program (id " + std::to_string(program) +
                        ") is attached; if it can go: ip link set dev " + interface + " xdp off");
  }
  bpf_xdp_detach(static_cast<int>(index), 0, nullptr);
}

// Runs nft with `script` on its standard input; true if it ends with 0.
bool run_nft(const std::string& script) {
  std::array<int, 2> pipe_ends{};
  if (pipe(pipe_ends.data()) != 0) return false;
  const pid_t child = fork();
  if (child == 0) {
    dup2(pipe_ends[0], STDIN_FILENO);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    execlp("nft", "nft", "-f", "-", nullptr);
    _exit(127);
  }
  close(pipe_ends[0]);
  const bool written =
      write(pipe_ends[1], script.data(), script.size()) == static_cast<ssize_t>(script.size());
  close(pipe_ends[1]);
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return written && child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string drop_rule(const Address& address, const std::string& ports) {
  const char* family = address.family == Family::kIpv4 ? "ip" : "ip6";
  return std::string("    ") + family + " daddr " + address.to_string() + " udp dport " + ports +
         " drop\n";
}

}  // namespace

struct SharedNic::Impl {
  std::string interface;
  Mode mode{};
  std::vector<Endpoint> listeners;
  std::vector<RelayedAddress> relayed;
  unsigned index = 0;
  Descriptor program_file;
  std::string table;  // nft's, on kPacket
  void* bitmap = MAP_FAILED;

  Descriptor map_called(const std::array<std::uint32_t, 16>& ids, std::size_t count,
                        const char* name) const {
    for (std::size_t i = 0; i < count; ++i) {
      Descriptor fd(bpf_map_get_fd_by_id(ids[i]));
      bpf_map_info info{};
      std::uint32_t size = sizeof info;
      if (fd.get() >= 0 && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0 &&
          std::strcmp(info.name, name) == 0) {
        return fd;
      }
    }
    fail(interface, std::string("the attached XDP program has no map ") + name);
  }

  void add_rules();
};

// Later fragments have no ports; the kernel reassembles before it would answer, and raw prerouting
// comes first: conntrack's defragmentation, where loaded, has a higher priority, so a whole
// datagram meets the rule.
void SharedNic::Impl::add_rules() {
  table = "inet turnpike_" + interface;
  std::string script = "add table " + table + "\ndelete table " + table + "\ntable " + table +
                       " {\n" + "  chain relay {\n    type filter hook prerouting priority raw;\n";
  for (const Endpoint& listener : listeners)
    script += drop_rule(listener.address, std::to_string(listener.port));
  for (const RelayedAddress& one : relayed)
    script += drop_rule(one.internal, "1024-65535");
  script += "  }\n}\n";
  if (!run_nft(script))
    fail(interface, "nft could not add table " + table + " (is nftables installed?)");
}

SharedNic::SharedNic(std::string interface, Mode mode, const std::vector<Endpoint>& listeners,
                     const std::vector<RelayedAddress>& relayed)
    : impl_(std::make_unique<Impl>()) {
  impl_->interface = std::move(interface);
  impl_->mode = mode;
  impl_->listeners = listeners;
  impl_->relayed = relayed;
  impl_->index = if_nametoindex(impl_->interface.c_str());
  if (impl_->index == 0)
    fail(impl_->interface, "there is no such interface; ip link lists those there are");
  if (relayed.size() > kMaxRelayed) fail(impl_->interface, "more than 256 relayed addresses");
  detach_stale(impl_->interface, impl_->index);
  run_nft("add table inet turnpike_" + impl_->interface + "\ndelete table inet turnpike_" +
          impl_->interface + "\n");
  if (mode == Mode::kPacket) {
    impl_->add_rules();
    return;
  }
  impl_->program_file = Descriptor(memfd_create("turnpike-xdp-filter", MFD_CLOEXEC));
  const auto size = static_cast<ssize_t>(sizeof kXdpFilterObject);
  if (impl_->program_file.get() < 0 ||
      write(impl_->program_file.get(), kXdpFilterObject, sizeof kXdpFilterObject) != size) {
    fail(impl_->interface, "no memory for the XDP filter");
  }
}

SharedNic::~SharedNic() {
  if (impl_->bitmap != MAP_FAILED) munmap(impl_->bitmap, kBitmapBytes);
  if (!impl_->table.empty()) run_nft("delete table " + impl_->table + "\n");
  const std::uint32_t program = attached_program(impl_->index);
  if (program != 0 && is_ours(program)) bpf_xdp_detach(static_cast<int>(impl_->index), 0, nullptr);
}

std::string SharedNic::program_path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(impl_->program_file.get());
}

void SharedNic::open_maps() {
  const std::uint32_t program = attached_program(impl_->index);
  if (program == 0 || !is_ours(program))
    fail(impl_->interface, "the driver did not attach the XDP filter");
  const Descriptor fd(bpf_prog_get_fd_by_id(program));
  std::array<std::uint32_t, 16> ids{};
  const std::size_t count = program_info(fd.get(), ids).nr_map_ids;
  const Descriptor live = impl_->map_called(ids, count, "tpk_live_ports");
  impl_->bitmap = mmap(nullptr, kBitmapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, live.get(), 0);
  if (impl_->bitmap == MAP_FAILED)
    fail(impl_->interface, std::string("mmap of the XDP filter's ports: ") + std::strerror(errno));

  const Descriptor addresses = impl_->map_called(ids, count, "tpk_relayed");
  for (std::uint32_t i = 0; i < impl_->relayed.size(); ++i) {
    const MapAddress key = to_map(impl_->relayed[i].internal);
    if (bpf_map_update_elem(addresses.get(), &key, &i, BPF_ANY) != 0)
      fail(impl_->interface, "the XDP filter takes no relayed address");
  }
  const Descriptor endpoints = impl_->map_called(ids, count, "tpk_listeners");
  for (const Endpoint& listener : impl_->listeners) {
    const MapListener key{to_map(listener.address), listener.port};
    const std::uint8_t yes = 1;
    if (bpf_map_update_elem(endpoints.get(), &key, &yes, BPF_ANY) != 0)
      fail(impl_->interface, "the XDP filter takes no listener");
  }
}

std::atomic<std::uint64_t>* SharedNic::live_ports() {
  static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));
  return impl_->bitmap == MAP_FAILED ? nullptr
                                     : static_cast<std::atomic<std::uint64_t>*>(impl_->bitmap);
}

InterfaceChannels interface_channels(const std::string& interface) {
  const Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (fd.get() < 0 || ioctl(fd.get(), SIOCETHTOOL, &request) != 0) return {};
  return {std::max(1U, channels.combined_count), channels.rx_count};
}

}  // namespace turnpike::dataplane
