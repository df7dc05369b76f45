// turnpike-pktgen: plays TURN clients and their peers on one DPDK port, to load a relay that no
// socket program can.
//
// It sets allocations and channels up with real credentials, then sends prebuilt frames
// (ChannelData from clients, plain UDP from peers, in turn) as fast as the port takes them, and
// counts what comes back. Nothing is built or checked per packet: the relay must be the bottleneck,
// not this. With --raw it sets nothing up and sends the same frames to whatever swaps them
// (dpdk-testpmd --forward-mode=5tswap).
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "turnpike/address.h"
#include "turnpike/integrity.h"
#include "turnpike/stun.h"
#include "wire/checksum.h"

namespace {

using turnpike::Address;
using turnpike::Endpoint;
namespace stun = turnpike::stun;

constexpr std::uint16_t kBurst = 32;
constexpr std::size_t kHeaders = 14 + 20 + 8;
constexpr std::uint16_t kPeerPort = 5000;

struct Options {
  std::string socket = "/run/turnpike-memif.sock";
  std::uint32_t channels = 1000;
  std::uint32_t payload = 160;
  double seconds = 2;
  bool raw = false;
  Endpoint server{Address::v4(10, 203, 0, 1), 3478};
  std::string user = "alice", password = "secret", realm = "example.org";
};

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "turnpike-pktgen: %s\n", why.c_str());
  std::exit(1);
}

// Client i and its peer. Every client has an address of its own and the same port.
Endpoint client_of(std::uint32_t i) {
  return {Address::v4(10, 204, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)),
          static_cast<std::uint16_t>(10000 + (i >> 16))};
}
Endpoint peer_of(std::uint32_t i) {
  return {Address::v4(10, 205, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)),
          kPeerPort};
}

void put16(std::uint8_t* at, std::uint16_t value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}

// A whole Ethernet frame around `payload`, UDP checksum included.
std::vector<std::uint8_t> frame(const Endpoint& from, const Endpoint& to, stun::Bytes payload) {
  std::vector<std::uint8_t> bytes(kHeaders + payload.size());
  std::uint8_t* p = bytes.data();
  std::memcpy(p, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00", 14);
  std::uint8_t* ip = p + 14;
  ip[0] = 0x45;
  put16(ip + 2, static_cast<std::uint16_t>(28 + payload.size()));
  ip[8] = 64;
  ip[9] = 17;
  std::memcpy(ip + 12, from.address.bytes.data(), 4);
  std::memcpy(ip + 16, to.address.bytes.data(), 4);
  put16(ip + 10, turnpike::wire::ipv4_header_checksum(ip, 20));
  std::uint8_t* udp = ip + 20;
  put16(udp, from.port);
  put16(udp + 2, to.port);
  put16(udp + 4, static_cast<std::uint16_t>(8 + payload.size()));
  std::memcpy(udp + 8, payload.data(), payload.size());
  put16(udp + 6, turnpike::wire::udp_checksum_v4(ip + 12, ip + 16, udp, 8 + payload.size()));
  return bytes;
}

class Generator {
 public:
  explicit Generator(const Options& options) : options_(options) {
    pool_ = rte_pktmbuf_pool_create("pktgen", 32767, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    if (pool_ == nullptr) fail("no memory for mbufs");
    rte_eth_conf conf{};
    if (rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
        rte_eth_rx_queue_setup(0, 0, 1024, 0, nullptr, pool_) != 0 ||
        rte_eth_tx_queue_setup(0, 0, 1024, 0, nullptr) != 0 || rte_eth_dev_start(0) != 0) {
      fail("the port does not start");
    }
    wait_for_link();
  }

  void set_up() {
    for (std::uint32_t i = 0; i < options_.channels; ++i)
      relayed_.push_back(allocate(i));
    std::fprintf(stderr, "%u allocations with a channel each\n", options_.channels);
  }

  void set_up_raw() {
    for (std::uint32_t i = 0; i < options_.channels; ++i) {
      relayed_.push_back({options_.server.address, static_cast<std::uint16_t>(49152 + i % 16384)});
    }
  }

  void run() {
    build_frames();
    const std::uint64_t hz = rte_get_tsc_hz();
    const auto span = static_cast<std::uint64_t>(options_.seconds * static_cast<double>(hz));
    exchange(span / 4);  // warm-up, not counted
    received_ = sent_ = refused_ = 0;
    const std::uint64_t begin = rte_rdtsc();
    exchange(span);
    const double took = static_cast<double>(rte_rdtsc() - begin) / static_cast<double>(hz);
    std::printf(
        "{\"sent\": %lu, \"received\": %lu, \"seconds\": %.3f, \"mpps\": %.3f, \"refused\": %lu}\n",
        sent_, received_, took, static_cast<double>(received_) / took / 1e6, refused_);
  }

 private:
  void wait_for_link() {
    rte_eth_link link{};
    for (int i = 0; i < 500; ++i) {
      rte_eth_link_get_nowait(0, &link);
      if (link.link_status == RTE_ETH_LINK_UP) return;
      rte_delay_ms(20);
    }
    fail("nobody answers on " + options_.socket);
  }

  rte_mbuf* make(const std::vector<std::uint8_t>& bytes) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
    if (mbuf == nullptr) fail("out of mbufs");
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(bytes.size())), bytes.data(),
                bytes.size());
    return mbuf;
  }

  // Sends `message` from client `i` and returns the UDP payload of the answer.
  std::vector<std::uint8_t> ask(std::uint32_t i, stun::Bytes message) {
    for (int attempt = 0; attempt < 5; ++attempt) {
      rte_mbuf* out = make(frame(client_of(i), options_.server, message));
      while (rte_eth_tx_burst(0, 0, &out, 1) == 0) {
      }
      const std::uint64_t deadline = rte_rdtsc() + rte_get_tsc_hz() / 2;
      while (rte_rdtsc() < deadline) {
        std::array<rte_mbuf*, kBurst> in{};
        const std::uint16_t n = rte_eth_rx_burst(0, 0, in.data(), kBurst);
        std::vector<std::uint8_t> answer;
        for (std::uint16_t k = 0; k < n; ++k) {
          const auto* p = rte_pktmbuf_mtod(in[k], const std::uint8_t*);
          const std::size_t size = rte_pktmbuf_data_len(in[k]);
          if (size > kHeaders + 20 && std::memcmp(p + kHeaders + 8, message.data() + 8, 12) == 0) {
            answer.assign(p + kHeaders, p + size);
          }
          rte_pktmbuf_free(in[k]);
        }
        if (!answer.empty()) return answer;
      }
    }
    fail("the relay does not answer");
  }

  stun::TransactionId next_transaction() {
    stun::TransactionId id{};
    ++transaction_;
    std::memcpy(id.data(), &transaction_, sizeof transaction_);
    return id;
  }

  void add_credentials(stun::MessageWriter& writer, const std::string& nonce) {
    writer.add_text(stun::Attribute::kUsername, options_.user);
    writer.add_text(stun::Attribute::kRealm, options_.realm);
    writer.add_text(stun::Attribute::kNonce, nonce);
    writer.add_message_integrity(key_.view());
  }

  stun::MessageView parse(const std::vector<std::uint8_t>& bytes) {
    stun::MessageView view;
    if (stun::MessageView::parse(bytes, view) != stun::ParseError::kNone)
      fail("an answer is not STUN");
    return view;
  }

  Endpoint allocate(std::uint32_t i) {
    key_ = stun::long_term_key(stun::PasswordAlgorithm::kMd5, options_.user, options_.realm,
                               options_.password);
    std::array<std::uint8_t, 512> buffer{};
    stun::MessageWriter first(buffer, stun::Class::kRequest, stun::Method::kAllocate,
                              next_transaction());
    first.add_u8_rfffu(stun::Attribute::kRequestedTransport, 17);
    const auto challenge = ask(i, first.finish());
    const std::string nonce(parse(challenge).text(stun::Attribute::kNonce).value_or(""));

    stun::MessageWriter second(buffer, stun::Class::kRequest, stun::Method::kAllocate,
                               next_transaction());
    second.add_u8_rfffu(stun::Attribute::kRequestedTransport, 17);
    add_credentials(second, nonce);
    const auto allocated = ask(i, second.finish());
    const auto relayed = parse(allocated).xor_address(stun::Attribute::kXorRelayedAddress);
    if (!relayed)
      fail("Allocate was refused: " + std::to_string(parse(allocated).error_code().value_or(0)));

    stun::MessageWriter third(buffer, stun::Class::kRequest, stun::Method::kChannelBind,
                              next_transaction());
    third.add_channel_number(0x4000);
    third.add_xor_address(stun::Attribute::kXorPeerAddress, peer_of(i));
    add_credentials(third, nonce);
    const auto bound = ask(i, third.finish());
    if (parse(bound).message_class() != stun::Class::kSuccess) fail("ChannelBind was refused");
    return *relayed;
  }

  void build_frames() {
    std::vector<std::uint8_t> data(4 + options_.payload, 0x5A);
    put16(data.data(), 0x4000);
    put16(data.data() + 2, static_cast<std::uint16_t>(options_.payload));
    const std::vector<std::uint8_t> plain(options_.payload, 0xA5);
    for (std::uint32_t i = 0; i < options_.channels; ++i) {
      frames_.push_back(frame(client_of(i), options_.server, data));
      frames_.push_back(frame(peer_of(i), relayed_[i], plain));
    }
  }

  // Sends and receives for `cycles`. Frames are copied into fresh mbufs once per send: 200 bytes.
  void exchange(std::uint64_t cycles) {
    const std::uint64_t end = rte_rdtsc() + cycles;
    std::array<rte_mbuf*, kBurst> burst{};
    std::array<rte_mbuf*, kBurst> in{};
    while (rte_rdtsc() < end) {
      if (rte_pktmbuf_alloc_bulk(pool_, burst.data(), kBurst) == 0) {
        for (rte_mbuf* mbuf : burst) {
          const std::vector<std::uint8_t>& bytes = frames_[next_frame_];
          next_frame_ = next_frame_ + 1 == frames_.size() ? 0 : next_frame_ + 1;
          std::memcpy(rte_pktmbuf_mtod(mbuf, void*), bytes.data(), bytes.size());
          mbuf->data_len = static_cast<std::uint16_t>(bytes.size());
          mbuf->pkt_len = mbuf->data_len;
        }
        const std::uint16_t taken = rte_eth_tx_burst(0, 0, burst.data(), kBurst);
        sent_ += taken;
        refused_ += kBurst - taken;
        if (taken < kBurst) rte_pktmbuf_free_bulk(burst.data() + taken, kBurst - taken);
      }
      for (std::uint16_t n; (n = rte_eth_rx_burst(0, 0, in.data(), kBurst)) > 0;) {
        received_ += n;
        rte_pktmbuf_free_bulk(in.data(), n);
      }
    }
  }

  Options options_;
  rte_mempool* pool_ = nullptr;
  stun::Key key_;
  std::uint64_t transaction_ = 0;
  std::vector<Endpoint> relayed_;
  std::vector<std::vector<std::uint8_t>> frames_;
  std::size_t next_frame_ = 0;
  std::uint64_t sent_ = 0, received_ = 0, refused_ = 0;
};

const char* const kUsage =
    "usage: turnpike-pktgen [--socket PATH] [--channels N] [--payload BYTES] [--seconds S] "
    "[--raw]\n"
    "                       [--core N] [--hugepages]\n";

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::string core = "0";
  bool hugepages = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) {
        std::fputs(kUsage, stderr);
        std::exit(2);
      }
      return argv[++i];
    };
    if (flag == "--socket") {
      options.socket = value();
    } else if (flag == "--channels") {
      options.channels = static_cast<std::uint32_t>(std::strtoul(value().c_str(), nullptr, 10));
    } else if (flag == "--payload") {
      options.payload = static_cast<std::uint32_t>(std::strtoul(value().c_str(), nullptr, 10));
    } else if (flag == "--seconds") {
      options.seconds = std::strtod(value().c_str(), nullptr);
    } else if (flag == "--raw") {
      options.raw = true;
    } else if (flag == "--core") {
      core = value();
    } else if (flag == "--hugepages") {
      hugepages = true;
    } else {
      std::fputs(kUsage, stderr);
      return 2;
    }
  }
  if (options.channels == 0 || options.payload < 4 || options.payload > 1400 ||
      options.seconds <= 0) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::string vdev =
      "--vdev=net_memif0,role=client,socket-abstract=no,zero-copy=yes,socket=" + options.socket;
  std::vector<std::string> words = {"turnpike-pktgen",
                                    "-l",
                                    core,
                                    "--in-memory",
                                    "--no-pci",
                                    "--no-telemetry",
                                    "--single-file-segments",
                                    "--log-level=error",
                                    vdev};
  if (!hugepages) {
    words.emplace_back("--no-huge");
    words.emplace_back("-m");
    words.emplace_back("256");
  }
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0)
    fail("EAL does not start");
  Generator generator(options);
  if (options.raw) {
    generator.set_up_raw();
  } else {
    generator.set_up();
  }
  generator.run();
  rte_eth_dev_stop(0);
  rte_eth_dev_close(0);
  rte_eal_cleanup();
  return 0;
}
