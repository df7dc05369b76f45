// Bytes as a program against allocations of TCP (RFC 6062): four of them are a step, in which a
// client asks for something, whoever has the sockets tells of something, true or not, or time
// passes. After every step the sockets that the server believes in are those that there are, each
// counted for its user; nothing is closed twice, and at the end nothing is left.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "turnpike/counters.h"
#include "turnpike/server.h"

namespace {

using namespace turnpike;  // NOLINT
using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;
using Event = PeerStreamEvent::Kind;

const Address kServer = Address::v4(192, 0, 2, 1);
const std::array<RelayedAddress, 2> kRelayed{
    RelayedAddress{Address::v4(192, 0, 2, 2), Address::v4(198, 51, 100, 7)},
    RelayedAddress{*Address::parse("2001:db8::2"), std::nullopt}};
const std::array<Endpoint, 4> kPeers{
    Endpoint{Address::v4(203, 0, 113, 9), 80}, Endpoint{Address::v4(203, 0, 113, 9), 81},
    Endpoint{Address::v4(192, 0, 2, 2), 50000}, Endpoint{*Address::parse("2001:db8:2::9"), 80}};

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

class Sink final : public FlowSink {
 public:
  std::optional<AllocationSlot> publish_allocation(const AllocationFlow& flow) override {
    require(!flow.relayed[0] && !flow.relayed[1], "workers would relay for TCP");
    slots.insert(next);
    return AllocationSlot{next++};
  }
  std::optional<PermissionSlot> publish_permission(const PermissionFlow&) override { std::abort(); }
  std::optional<ChannelSlot> publish_channel(const ChannelFlow&) override { std::abort(); }
  void extend_relayed(AllocationSlot, Family, std::uint32_t) override { std::abort(); }
  void extend_permission(PermissionSlot, std::uint32_t) override { std::abort(); }
  void extend_channel(ChannelSlot, std::uint32_t) override { std::abort(); }
  void withdraw_relayed(AllocationSlot, Family) override { std::abort(); }
  void withdraw_channel(ChannelSlot) override { std::abort(); }
  void withdraw_permission(PermissionSlot) override { std::abort(); }
  void withdraw_allocation(AllocationSlot slot) override {
    require(slots.erase(static_cast<std::uint32_t>(slot)) == 1, "withdrawn twice");
  }

  std::set<std::uint32_t> slots;
  std::uint32_t next = 1;
};

class Sockets final : public PeerStreams {
 public:
  bool open(StreamRelay relay, const RelayEndpoint&) override {
    return !full && relays.insert(relay).second;
  }
  bool connect(PeerStream stream, StreamRelay relay, const Endpoint&) override {
    require(relays.contains(relay), "connects from what isn't open");
    return !full && streams.insert(stream).second;
  }
  bool bind(PeerStream stream, const FiveTuple&, stun::Bytes answer) override {
    require(streams.contains(stream), "binds what isn't there");
    return !full && look(answer);
  }
  bool say(const FiveTuple&, stun::Bytes message) override { return !full && look(message); }
  void close(PeerStream stream) override {
    require(streams.erase(stream) == 1, "a stream closed twice");
  }
  void close(StreamRelay relay) override {
    require(relays.erase(relay) == 1, "a relay closed twice");
  }
  bool look(stun::Bytes message) {
    MessageView view;
    require(MessageView::parse(message, view) == stun::ParseError::kNone, "says no message");
    require(view.complete(), "says half a message");
    if (const auto id = view.find(Attribute::kConnectionId))
      ids.emplace_back(id->value.begin(), id->value.end());
    return true;
  }

  std::set<StreamRelay> relays;
  std::set<PeerStream> streams;
  std::vector<std::vector<std::uint8_t>> ids{{0, 0, 0, 0}};
  bool full = false;
};

class World final : public ServerHost {
 public:
  World()
      : nonces_({.key = {1}}),
        tokens_({2}),
        quotas_(UserLimits{3, 0, 0, 5}, 0, false),
        server_(config(), *this, nonces_, tokens_, quotas_) {}

  static ServerConfig config() {
    ServerConfig made;
    made.realms = {{.name = "example.org"}};
    made.relayed.assign(kRelayed.begin(), kRelayed.end());
    made.max_connections_per_allocation = 4;
    made.max_connecting_per_allocation = 2;
    made.connects_per_second = 2;
    return made;
  }

  void run(std::span<const std::uint8_t> program) {
    for (; program.size() >= 4; program = program.subspan(4)) {
      step(program[0], program[1], program[2], program[3]);
      check();
    }
    sockets_.full = false;
    for (int hours = 0; hours < 3; ++hours) {
      now_.ms += 3'700'000;
      while (server_.tick(now_))
        continue;
    }
    require(sockets_.streams.empty() && sockets_.relays.empty() && sink_.slots.empty(),
            "something is left");
    require(quotas_.count(ann_) == 0 && connections(ann_) + connections(bob_) == 0,
            "a quota is left");
  }

 private:
  std::uint32_t connections(const QuotaUser& user) const {
    return quotas_.count(user, QuotaLedger::Thing::kConnection);
  }

  void check() const {
    require(server_.counters().peer_connections.get() == sockets_.streams.size(),
            "the server's streams are not those that there are");
    require(connections(ann_) + connections(bob_) == sockets_.streams.size(),
            "the ledger's are not");
    require(server_.counters().allocations.get() == sink_.slots.size(), "allocations are not");
  }

  template <typename Number>
  static Number pick(const std::set<Number>& all, std::uint8_t which) {
    if (all.empty()) return Number{which};
    return *std::next(all.begin(), which % static_cast<std::ptrdiff_t>(all.size()));
  }

  void step(std::uint8_t what, std::uint8_t who, std::uint8_t a, std::uint8_t b) {
    switch (what % 12) {
      case 0:
        return ask(Method::kAllocate, who, [&](MessageWriter& writer) {
          writer.add_u8_rfffu(Attribute::kRequestedTransport, 6);
          if ((a & 1) != 0) writer.add_u8_rfffu(Attribute::kAdditionalAddressFamily, 2);
          if ((a & 6) == 2) writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
        });
      case 1:
      case 2:
        return ask(Method::kConnect, who, [&](MessageWriter& writer) {
          writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[a % kPeers.size()]);
        });
      case 3:
        return ask(Method::kConnectionBind, who, [&](MessageWriter& writer) {
          writer.add(Attribute::kConnectionId, sockets_.ids[a % sockets_.ids.size()]);
        });
      case 4:
        return ask(Method::kCreatePermission, who, [&](MessageWriter& writer) {
          writer.add_xor_address(Attribute::kXorPeerAddress, kPeers[a % kPeers.size()]);
        });
      case 5:
        return ask(Method::kRefresh, who, [&](MessageWriter& writer) {
          writer.add_u32(Attribute::kLifetime, (a & 1) != 0 ? 0 : a * 10U);
          if ((b & 1) != 0)
            writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, 1 + (b >> 1 & 1));
        });
      case 6:
      case 7:
        return tell(static_cast<Event>(a % 7), pick(sockets_.relays, who),
                    pick(sockets_.streams, b), b);
      case 8:
        now_.ms += a * 500U;
        server_.tick(now_);
        return;
      case 9:
        sockets_.full = (a & 1) != 0;
        return;
      case 10:
        return server_.stream_ended(now_, AllocationSlot{pick(sink_.slots, a)}, 0);
      default:
        now_.ms += a;
        server_.tick(now_);
    }
  }

  // What is over has no socket any more; what has come has one.
  void tell(Event kind, StreamRelay relay, PeerStream stream, std::uint8_t from) {
    if (kind == Event::kArrived) {
      stream = PeerStream{kArrivedStream | ++arrivals_};
      sockets_.streams.insert(stream);
    }
    const bool over = kind == Event::kFailed || kind == Event::kOwnHost || kind == Event::kNoRoom ||
                      kind == Event::kClosed;
    if (over) sockets_.streams.erase(stream);
    server_.heed(now_, {kind, relay, stream, kPeers[from % kPeers.size()]});
  }

  template <typename Fill>
  void ask(Method method, std::uint8_t who, Fill&& fill) {
    const bool bob = (who & 4) != 0;
    FiveTuple five_tuple{
        ClientEndpoint{{Address::v4(203, 0, 113, 1), static_cast<std::uint16_t>(40000 + who % 8)}},
        {kServer, 3478},
        Transport::kTcp};
    std::array<std::uint8_t, 512> buffer{};
    stun::TransactionId id{};
    ++transactions_;
    id[0] = static_cast<std::uint8_t>(transactions_);
    id[1] = static_cast<std::uint8_t>(transactions_ >> 8);
    MessageWriter writer(buffer, Class::kRequest, method, id);
    fill(writer);
    writer.add_text(Attribute::kUsername, bob ? "bob" : "ann");
    writer.add_text(Attribute::kRealm, "example.org");
    std::array<char, NonceKeeper::kMaxSize> nonce{};
    const std::size_t size =
        nonces_.mint(now_, {.name = "example.org"}, five_tuple.client, five_tuple.server, nonce);
    writer.add_text(Attribute::kNonce, {nonce.data(), size});
    writer.add_message_integrity(key_of(bob ? "bob" : "ann").view());
    answered_ = 0;
    server_.handle(now_, five_tuple, writer.finish(), RequestToken{1});
    require(answered_ == 1, "a request not answered once");
  }

  static stun::Key key_of(std::string_view name) {
    return stun::long_term_key(stun::PasswordAlgorithm::kMd5, name, "example.org", "secret");
  }

  void reply(RequestToken, stun::Bytes message) override {
    ++answered_;
    MessageView view;
    require(MessageView::parse(message, view) == stun::ParseError::kNone, "answers no message");
  }
  void discard(RequestToken, Discard) override { ++answered_; }
  void put_off(RequestToken) override { ++answered_; }
  KeyState find_keys(const UserName& user, RealmIndex, KeyPurpose, UserKeys& out) override {
    out.username = out.quota_name = user.username;
    out.md5 = {key_of(user.username)};
    return KeyState::kFound;
  }
  void unauthorized(const ClientEndpoint&, Unauthorized) override { std::abort(); }
  PeerVerdict check_peer(RealmIndex, const Address&, const Address&) override {
    return PeerVerdict::kAllowed;
  }
  std::uint32_t random_below(std::uint32_t bound) override {
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<std::uint32_t>((random_ >> 32) * bound >> 32);
  }
  FlowSink& flows() override { return sink_; }
  PeerStreams* peer_streams() override { return &sockets_; }

  Sink sink_;
  Sockets sockets_;
  NonceKeeper nonces_;
  TokenSealer tokens_;
  QuotaLedger quotas_;
  Instant now_{1'000'000};
  std::uint64_t random_ = 1, arrivals_ = 0;
  std::uint32_t transactions_ = 0;
  int answered_ = 0;
  const QuotaUser ann_{"ann"}, bob_{"bob"};
  Server server_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World().run({data, size});
  return 0;
}
