// A TURN server over plain sockets, on the public library: one thread, one user, IPv4.
//
//     turn_server 127.0.0.1:3478 example.org alice secret
//
// It relays from the address it listens on, and lets its user reach any peer: on the internet
// check_peer() has to refuse what is nobody's business (private networks, this host).
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "turnpike/counters.h"
#include "turnpike/server.h"
#include "turnpike/stateless_answers.h"

namespace {

using namespace turnpike;  // NOLINT(google-build-using-namespace): a program of a page
using Buffer = std::array<std::uint8_t, 65536>;

Instant now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return {1000 + static_cast<std::uint64_t>(
                     std::chrono::duration_cast<std::chrono::milliseconds>(since).count())};
}

sockaddr_in socket_address(const Endpoint& endpoint) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(endpoint.port);
  std::memcpy(&to.sin_addr, endpoint.address.bytes.data(), 4);
  return to;
}

int bind_socket(const Endpoint& endpoint) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const sockaddr_in at = socket_address(endpoint);
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) return fd;
  close(fd);
  return -1;
}

void send_to(int fd, const Endpoint& endpoint, stun::Bytes bytes) {
  const sockaddr_in to = socket_address(endpoint);
  sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

// The next datagram; nothing: none waits.
std::optional<stun::Bytes> receive(int fd, Buffer& buffer, Endpoint& from) {
  sockaddr_in source{};
  socklen_t size = sizeof source;
  const ssize_t got =
      recvfrom(fd, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&source), &size);
  if (got < 0) return std::nullopt;
  from.address =
      Address::from_bytes(Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&source.sin_addr));
  from.port = ntohs(source.sin_port);
  return stun::Bytes(buffer.data(), static_cast<std::size_t>(got));
}

// What the server says may pass, and a socket for each relayed transport address. Channels and
// permissions are looked for one by one: this is a page, not a relay.
class Flows final : public FlowSink {
 public:
  struct Allocation {
    FiveTuple five_tuple;
    int fd = -1;
  };

  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    const int fd = bind_socket(*flow.relayed[0]);
    if (fd < 0) return std::nullopt;
    allocations[++last_] = {flow.five_tuple, fd};
    return AllocationSlot{last_};
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow& flow) override {
    permissions[++last_] = flow;
    return PermissionSlot{last_};
  }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow& flow) override {
    channels[++last_] = flow;
    return ChannelSlot{last_};
  }
  void extend_relayed(AllocationSlot, Family, std::uint32_t) override {}
  void extend_permission(PermissionSlot slot, std::uint32_t expires_s) override {
    permissions.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void extend_channel(ChannelSlot slot, std::uint32_t expires_s) override {
    channels.at(static_cast<std::uint32_t>(slot)).expires_s = expires_s;
  }
  void withdraw_relayed(AllocationSlot, Family) override {}
  void withdraw_channel(ChannelSlot slot) override {
    channels.erase(static_cast<std::uint32_t>(slot));
  }
  void withdraw_permission(PermissionSlot slot) override {
    permissions.erase(static_cast<std::uint32_t>(slot));
  }
  void withdraw_allocation(AllocationSlot slot) override {
    close(allocations.at(static_cast<std::uint32_t>(slot)).fd);
    allocations.erase(static_cast<std::uint32_t>(slot));
  }

  bool permits(std::uint32_t allocation, const Address& peer) const {
    for (const auto& [slot, one] : permissions) {
      if (one.allocation == AllocationSlot{allocation} && one.peer == peer &&
          now_s(now()) < one.expires_s)
        return true;
    }
    return false;
  }
  const ChannelFlow* channel(std::uint32_t allocation, std::optional<ChannelNumber> number,
                             const Endpoint* peer) const {
    for (const auto& [slot, one] : channels) {
      if (one.allocation == AllocationSlot{allocation} && now_s(now()) < one.expires_s &&
          (number ? one.number == *number : static_cast<const Endpoint&>(one.peer) == *peer))
        return &one;
    }
    return nullptr;
  }

  std::map<std::uint32_t, Allocation> allocations;
  std::map<std::uint32_t, PermissionFlow> permissions;
  std::map<std::uint32_t, ChannelFlow> channels;

 private:
  std::uint32_t last_ = 0;
};

class TurnServer final : public ServerHost {
 public:
  TurnServer(const Endpoint& endpoint, const std::string& realm, std::string user,
             const std::string& password)
      : listener_{endpoint},
        fd_(bind_socket(endpoint)),
        user_(std::move(user)),
        nonces_({.key = random_key()}),
        tokens_(random_key()),
        quotas_(UserLimits(100), 0, false),
        stateless_({.realms = {{.name = realm}}}, nonces_),
        server_(config(endpoint, realm), *this, nonces_, tokens_, quotas_) {
    keys_.username = keys_.quota_name = user_;
    keys_.md5 = {stun::long_term_key(stun::PasswordAlgorithm::kMd5, user_, realm, password)};
    keys_.sha256 = {stun::long_term_key(stun::PasswordAlgorithm::kSha256, user_, realm, password)};
    hash_ = stun::userhash(user_, realm);
  }
  bool listens() const { return fd_ >= 0; }

  void run() {
    for (;;) {
      std::vector<pollfd> waits{{fd_, POLLIN, 0}};
      std::vector<std::uint32_t> whose{0};
      for (const auto& [slot, allocation] : flows_.allocations) {
        waits.push_back({allocation.fd, POLLIN, 0});
        whose.push_back(slot);
      }
      poll(waits.data(), waits.size(), 500);
      Endpoint from;
      for (std::size_t i = 1; i < waits.size(); ++i) {
        if (waits[i].revents == 0) continue;
        while (const auto bytes = receive(waits[i].fd, buffer_, from))
          from_peer(whose[i], from, *bytes);
      }
      while (const auto bytes = receive(fd_, buffer_, from))
        from_client({from}, *bytes);
      server_.tick(now());
    }
  }

 private:
  static std::array<std::uint8_t, 16> random_key() {
    std::array<std::uint8_t, 16> key;
    std::random_device random;
    for (std::uint8_t& byte : key)
      byte = static_cast<std::uint8_t>(random());
    return key;
  }
  static ServerConfig config(const Endpoint& endpoint, const std::string& realm) {
    ServerConfig config;
    config.realms = {{.name = realm}};
    config.relayed = {{endpoint.address, std::nullopt}};
    return config;
  }

  void from_client(const ClientEndpoint& client, stun::Bytes bytes) {
    client_ = client;
    std::uint32_t mine = 0;
    for (const auto& [slot, allocation] : flows_.allocations) {
      if (allocation.five_tuple.client == client) mine = slot;
    }
    if (bytes.size() >= stun::kChannelDataHeaderSize && bytes[0] >> 6 == 1) {
      const auto number = static_cast<ChannelNumber>(bytes[0] << 8 | bytes[1]);
      const std::size_t size = static_cast<std::size_t>(bytes[2] << 8 | bytes[3]);
      const ChannelFlow* channel = flows_.channel(mine, number, nullptr);
      if (channel != nullptr && size <= bytes.size() - stun::kChannelDataHeaderSize)
        send_to(flows_.allocations[mine].fd, channel->peer,
                bytes.subspan(stun::kChannelDataHeaderSize, size));
      return;
    }
    stun::MessageView message;
    if (stun::MessageView::parse(bytes, message) != stun::ParseError::kNone) return;
    if (message.method() == stun::Method::kSend) {
      const auto peer = message.xor_address(stun::Attribute::kXorPeerAddress);
      const auto data = message.find(stun::Attribute::kData);
      if (mine != 0 && peer && data && flows_.permits(mine, peer->address))
        send_to(flows_.allocations[mine].fd, *peer, data->value);
      return;
    }
    std::array<std::uint8_t, kAnswerMax> out;
    const StatelessResult result =
        stateless_.answer(now(), message, client, listener_, mine != 0, out);
    if (result.verdict == StatelessVerdict::kAnswered)
      send_to(fd_, client, {out.data(), result.size});
    if (result.verdict == StatelessVerdict::kAdmit)
      server_.handle(now(), listener_.five_tuple(client), bytes, RequestToken{});
  }

  void from_peer(std::uint32_t allocation, const Endpoint& peer, stun::Bytes bytes) {
    const Endpoint client = flows_.allocations[allocation].five_tuple.client;
    const ChannelFlow* channel = flows_.channel(allocation, std::nullopt, &peer);
    std::vector<std::uint8_t> out(bytes.size() + 128);
    if (channel != nullptr) {
      const std::uint16_t head[] = {htons(channel->number),
                                    htons(static_cast<std::uint16_t>(bytes.size()))};
      std::memcpy(out.data(), head, sizeof head);
      std::memcpy(out.data() + sizeof head, bytes.data(), bytes.size());
      return send_to(fd_, client, {out.data(), sizeof head + bytes.size()});
    }
    if (!flows_.permits(allocation, peer.address)) return;
    std::random_device random;
    stun::TransactionId id;
    for (std::uint8_t& byte : id)
      byte = static_cast<std::uint8_t>(random());
    stun::MessageWriter writer(out, stun::Class::kIndication, stun::Method::kData, id);
    writer.add_xor_address(stun::Attribute::kXorPeerAddress, peer);
    writer.add(stun::Attribute::kData, bytes);
    send_to(fd_, client, writer.finish());
  }

  // --- What the server asks of the world.
  void reply(RequestToken, stun::Bytes message) override { send_to(fd_, client_, message); }
  void discard(RequestToken, Discard) override {}
  KeyState find_keys(const UserName& user, RealmIndex, KeyPurpose, UserKeys& out) override {
    if (user.userhash ? *user.userhash != hash_ : user.username != user_) return KeyState::kUnknown;
    out = keys_;
    return KeyState::kFound;
  }
  void unauthorized(const ClientEndpoint& client, Unauthorized) override {
    std::fprintf(stderr, "refused: %s\n", client.to_string().c_str());
  }
  PeerVerdict check_peer(RealmIndex, const Address&, const Address&) override {
    return PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    std::random_device random;
    return std::uniform_int_distribution<std::uint32_t>(0, bound - 1)(random);
  }
  FlowSink& flows() override { return flows_; }

  const Listener listener_;
  const int fd_;
  const std::string user_;
  std::array<std::uint8_t, 32> hash_{};
  UserKeys keys_;
  Flows flows_;
  NonceKeeper nonces_;
  TokenSealer tokens_;
  QuotaLedger quotas_;
  StatelessAnswers stateless_;
  Server server_;
  ClientEndpoint client_;  // whose request is being handled
  Buffer buffer_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto endpoint = argc == 5 ? Endpoint::parse(argv[1]) : std::nullopt;
  if (!endpoint || endpoint->address.family != Family::kIpv4) {
    std::fprintf(stderr, "usage: turn_server ADDRESS:PORT REALM USER PASSWORD   (IPv4)\n");
    return 2;
  }
  const auto server = std::make_unique<TurnServer>(*endpoint, argv[2], argv[3], argv[4]);
  if (!server->listens()) {
    std::fprintf(stderr, "turn_server: %s: %s\n", argv[1], std::strerror(errno));
    return 1;
  }
  std::printf("listening on %s\n", argv[1]);
  std::fflush(stdout);
  server->run();
}
