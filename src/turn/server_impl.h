// What the server's files share: one request in hand, and the answer to it. What the server has is
// in its book (book.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "turn/book.h"
#include "turnpike/counters.h"
#include "turnpike/limit.h"
#include "turnpike/nonce.h"
#include "turnpike/quota.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"
#include "wire/challenge.h"

namespace turnpike {

// Why not: the code, and the cause in the words that stand in place of the code's own phrase
// (RFC 8489 §14.8 leaves them free); and by which limit, where it is one. A code of 0 is no
// refusal.
struct Refusal {
  std::uint16_t code = 0;
  std::string_view cause = {};
  Limit limit = Limit::kNone;

  explicit operator bool() const { return code != 0; }
};

struct Request {
  Instant now;
  FiveTuple five_tuple;
  RequestToken token{};
  RealmIndex realm = 0;  // of the listener that it came to
  stun::MessageView message;
  SigningKey signing_key;
  Identity user;

  Question question() const {
    return {message.method(), message.transaction_id(), message.has_fingerprint(), signing_key};
  }
};

class Server::Impl {
 public:
  Impl(const ServerConfig& config, ServerHost& host, const NonceKeeper& nonces,
       const TokenSealer& tokens, QuotaLedger& quotas);
  ~Impl();

  void use(const ServerPolicy& policy) { policy_ = &policy; }
  void handle(Instant now, const FiveTuple& five_tuple, stun::Bytes bytes, RequestToken token,
              RealmIndex realm);
  void keys_arrived(Instant now, const UserName& user, RealmIndex realm, const UserKeys* keys);
  bool end(Instant now, AllocationSlot slot);
  void data_came(Instant now, AllocationSlot slot, std::uint16_t move);
  void stream_ended(Instant now, AllocationSlot slot, std::uint16_t move);
  void heed(Instant now, const PeerStreamEvent& event);
  bool tick(Instant now);

  ServerCounters counters;

 private:
  // server.cpp: what is asked, and the answers' frame.
  void dispatch(Request& request, Allocation* allocation);
  void challenge(const Request& request, std::uint16_t code);
  void refuse(const Request& request, const Refusal& refusal);
  void refuse_unsigned(const Request& request, const Refusal& refusal);
  void refuse_unknown(const Request& request, std::span<const std::uint16_t> unknown);
  void send_refusal(const Request& request, const Refusal& refusal, bool sign);
  stun::MessageWriter begin(const Request& request, stun::Class message_class);
  stun::MessageWriter begin(const Question& question, stun::Class message_class);
  void send(const Request& request, stun::MessageWriter& writer, std::uint16_t result, bool sign);
  stun::Bytes finish(const Question& question, stun::MessageWriter& writer, std::uint16_t result,
                     bool sign);
  static void add_refusal(stun::MessageWriter& writer, const Refusal& refusal);
  void count(stun::Method method, std::uint16_t result);
  void count(Limit limit) { counters.limits[static_cast<std::size_t>(limit)].add(); }
  void discard(RequestToken token, Discard reason);

  // authenticate.cpp: who asks.
  struct Parked {
    FiveTuple five_tuple;
    std::vector<std::uint8_t> bytes;
    RequestToken token{};
    RealmIndex realm = 0;
    std::uint64_t deadline_ms = 0;
  };
  void authenticate(Request& request, Allocation* allocation);
  const Identity* remembered_owner(const Request& request, const Allocation* allocation) const;
  const Realm& realm_of(const Request& request) const { return policy_->realms[request.realm]; }
  bool names(const Request& request, const std::string& username) const;
  void deny(const Request& request, Unauthorized reason);
  bool prove(Request& request, const UserKeys& keys) const;
  bool prove(Request& request, const Identity& owner) const;
  std::optional<std::size_t> find_signer(Request& request, std::span<const stun::Key> md5,
                                         std::span<const stun::Key> sha256) const;
  void park(const Request& request);
  void give_up_parked(Instant now);

  // allocate.cpp
  struct Claim;
  void allocate(Request& request, Allocation* existing);
  IdentityVerdict judge_identity(const Request& request) const;
  bool redirect(const Request& request);
  Refusal choose_families(const Request& request, std::array<bool, 2>& wanted) const;
  Refusal claim(const Request& request, Claim& claimed);
  Refusal claim_reserved(const Request& request, Claim& claimed) const;
  Refusal claim_ports(const Request& request, const std::array<bool, 2>& wanted, Claim& claimed);
  void abandon(const Request& request, const Claim& claimed);
  Allocation* establish(const Request& request, const Claim& claimed);
  void answer_allocate(const Request& request, const Allocation& allocation);
  void write_success(stun::MessageWriter& writer, const Allocation& allocation,
                     const Endpoint& client);
  std::uint32_t lifetime(const stun::MessageView& message) const;
  Address public_of(const Address& relayed) const;

  // refresh.cpp: `ticket`, in the success.
  void refresh(Request& request, Allocation& allocation,
               const std::optional<TokenSealer::Ticket>& ticket = std::nullopt);
  Refusal refresh_refused(const Request& request, const Allocation& allocation,
                          std::array<bool, 2>& meant) const;
  void answer_refresh(const Request& request, std::uint32_t granted_s,
                      const std::optional<TokenSealer::Ticket>& ticket);

  // mobility.cpp
  Allocation* meant(const Request& request);
  TokenSealer::Ticket ticket_of(const Allocation& allocation, std::uint16_t serial) const;
  Mobility new_mobility() const;
  void move(Request& request, Allocation* allocation);
  Refusal may_move(const Request& request, const Allocation& allocation,
                   std::uint16_t serial) const;

  // permission.cpp
  void create_permission(Request& request, Allocation& allocation);
  Refusal judge_peer(const Allocation& allocation, const Address& peer);
  Refusal refused_by(PeerVerdict verdict);
  NewPermission as_new(const Allocation& allocation, const Address& peer);

  // channel.cpp
  void channel_bind(Request& request, Allocation& allocation);
  Refusal bind(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer, Instant now);
  Refusal bind_new(Allocation& allocation, ChannelNumber number, const PeerEndpoint& peer,
                   Instant now);

  // connect.cpp: allocations of TCP's (RFC 6062).
  Refusal streams_refused(const Request& request) const;
  void await_relays(const Request& request, Allocation& allocation);
  bool tell(const FiveTuple& client, const Question& question, const Refusal& refusal);
  void opened(Instant now, Allocation& allocation, bool well);
  void connect(Request& request, Allocation& allocation);
  Refusal may_connect(const Request& request, const Allocation& allocation,
                      const PeerEndpoint& peer);
  Endpoint wire_of(const PeerEndpoint& peer) const;
  void connected(Instant now, std::uint32_t id);
  void not_connected(std::uint32_t id, const Refusal& refusal, bool said);
  void arrived(Instant now, const PeerStreamEvent& event);
  PeerArrival offer(Instant now, const PeerStreamEvent& event);
  void connection_bind(Request& request);
  PeerConnection* named_connection(const Request& request, std::uint32_t& id);
  std::size_t end_connections(Instant now, std::size_t most);

  const ServerConfig config_;
  const ServerPolicy* policy_ = &config_;
  ServerHost& host_;
  const NonceKeeper& nonces_;
  const TokenSealer& tokens_;
  QuotaLedger& quotas_;

  Book book_;
  ConnectRates connects_;
  std::vector<Parked> parked_;

  // More than the longest realm, software and list of alternates together.
  std::array<std::uint8_t, 4096> answer_{};
};

}  // namespace turnpike
