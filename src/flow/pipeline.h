// One packet's way, in one place:
//
//     receive → classify → look up → police → rewrite → transmit
//
// The worker (dataplane/worker.cpp) receives and transmits; the stages between are here, each over
// the whole burst. After process() every packet's verdict is one of kTransmit, kTransmitBack,
// kEngine, kSession, kKernel, kReassemble, kWait or kDrop.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "flow/behind_requests.h"
#include "flow/counters.h"
#include "flow/fast_lane.h"
#include "flow/here.h"
#include "flow/packet.h"
#include "flow/police.h"
#include "flow/request_limits.h"
#include "flow/setup.h"
#include "flow/source_buckets.h"
#include "flow/token_bucket.h"
#include "flow/worker_policy.h"
#include "tables/arrivals.h"
#include "tables/next_hop.h"
#include "tables/tables.h"
#include "turnpike/reservation_token.h"
#include "turnpike/server.h"
#include "wire/dtls_cookie.h"
#include "wire/dtls_records.h"
#include "wire/transaction_ids.h"

namespace turnpike::flow {

class Pipeline {
 public:
  static constexpr std::size_t kMaxBurst = 64;

  // Keeps references; all outlive it. One Pipeline per worker, whose number is its own, called by
  // it alone. `counters` is written by this worker only.
  Pipeline(const Setup& setup, const Tables& tables, NextHopResolver& next_hops,
           const WorkerPolicy& policy, const TokenSealer& tokens, WorkerCounters& counters,
           std::uint16_t worker = 0);

  // From now on it goes by `policy`, which stays until the next call. Once a round.
  void use(const WorkerPolicy& policy) {
    policy_ = &policy;
    police_.use(policy);
  }

  // At most kMaxBurst packets. Wall time doesn't matter here: `now` is the engine's clock.
  void process(Instant now, std::span<Packet> burst);

  // Replaces the UDP payload of a request frame by the engine's `reply` and turns the frame round:
  // used by the worker on what comes back from the engine (the reply is already in the frame, at
  // packet.payload, reply_size bytes).
  void finish_reply(Packet& packet, std::size_t reply_size);

  // Of a first fragment (kReassemble): whose client it comes from, or by which relay port's live
  // permission or channel; none: a stranger's.
  std::optional<AllocationSlot> owner_of_fragment(Instant now, const Packet& packet) const;

  // IPv4 identifications: no two workers' are equal while each goes once through its own.
  void number_ids(std::uint16_t first, std::uint16_t step) { ip_ids_ = {first, step}; }

  // Where what has verdict kWait finds a place, if there is one. Whoever had a request (kEngine) is
  // to say answered() if its opens_way is set, when it has come back.
  BehindRequests& behind_requests() { return behind_requests_; }

  // What a transport thread has made for a client is a datagram but for what it doesn't know: its
  // identification, and in path_mtu what its path takes.
  void complete_datagram(Instant now, Packet& packet);

  // A client's stream to a listener is no more: its allocation's shard is to be told, by police().
  // False: too much waits to be told; it is the caller's to say again.
  bool stream_closed(ListenerIndex listener, const Endpoint& client);

  // Has what shards are to be told, which is the caller's to do.
  Police& police() { return police_; }

 private:
  void settle(Packet& packet);
  void police(Instant now, std::span<Packet> burst);
  Drop judge(Instant now, const Packet& packet, bool to_client);

  // classify.cpp
  void classify(Instant now, std::span<Packet> burst);
  const Here& here_for(std::size_t port) const;
  void classify_udp(Instant now, Packet& packet, std::size_t l4_size);
  void classify_from_client(Instant now, Packet& packet);
  void classify_icmp(Packet& packet, std::size_t l4_size);
  void open_send(Packet& packet);
  void answer_classic(Instant now, Packet& packet);
  bool answer(Packet& packet, std::span<const std::uint8_t> bytes, const AnswerWay& way = {});
  bool is_answerable(const Packet& packet) const;

  // classify_dtls.cpp
  void classify_dtls(Instant now, Packet& packet);
  void answer_hello(Instant now, Packet& packet, const wire::ClientHello& hello);
  void answer_or_admit(Instant now, Packet& packet, const stun::MessageView& message);
  static stun::Attribute names_shard(stun::Method method);
  Drop refuse_stranger(Instant now, const Packet& packet);
  bool may_answer_stranger(Instant now, Packet& packet);
  bool may_answer_all(Instant now, Packet& packet, const StatelessResult& result);
  void count_answer(const StatelessResult& result);
  void admit(Instant now, Packet& packet, const stun::MessageView& message,
             std::optional<AllocationSlot> known);

  // look_up.cpp
  void look_up(Instant now, std::span<Packet> burst);
  void look_up_clients(std::span<Packet> burst);
  bool look_up_move(Packet& packet);
  std::optional<AllocationSlot> allocation_of(ListenerIndex listener, const Endpoint& client) const;
  void look_up_relays(std::span<Packet> burst);
  void find_ways_by_channel(Instant now, std::span<Packet> burst);
  void find_ways_by_permission(Instant now, std::span<Packet> burst);
  void find_ways_to_clients(std::uint32_t seconds, std::span<Packet> burst);
  void take_way_to_client(std::uint32_t seconds, Packet& packet, const ChannelEntry* channel,
                          const PermissionEntry* permission);
  void take_client_hop(Packet& packet, const AllocationEntry& allocation) const;
  void find_way_for_icmp(std::uint32_t seconds, Packet& packet);
  void heed_too_big(std::uint32_t seconds, Packet& packet);
  const ChannelEntry* channel_at(ChannelSlot slot) const;
  const PermissionEntry* permission_at(PermissionSlot slot) const;
  const ChannelEntry* find_channel(const Packet& packet) const;
  const PermissionEntry* find_permission(const Packet& packet) const;
  void choose_shard(Packet& packet);
  void hairpin(Instant now, Packet& packet, const Endpoint& peer);

  // rewrite.cpp
  void rewrite(Instant now, std::span<Packet> burst);
  void rewrite_to_peer(Instant now, Packet& packet);
  void rewrite_to_client(Instant now, Packet& packet);
  std::uint32_t ttl_left(std::uint32_t ttl, std::uint32_t hops) const;
  std::size_t mtu_of(Packet& packet, Family family, std::size_t udp_size) const;
  bool fits(Instant now, Packet& packet, Family family, std::size_t udp_size, bool to_client);

  // icmp.cpp
  void refuse_by_icmp(Instant now, Packet& packet, bool too_big, std::uint32_t mtu);
  void rewrite_icmp(Packet& packet);
  bool may_send_icmp(Instant now, const Address& receiver);

  const Setup& setup_;
  const Here here_;
  const Here tcp_here_, dtls_here_;
  const bool has_dtls_;
  const wire::DtlsCookies cookies_;
  const Tables& tables_;
  NextHopResolver& next_hops_;
  std::vector<Arrivals> own_arrivals_;  // where the resolver tells of none
  const Arrivals* arrivals_;            // by port
  const WorkerPolicy* policy_;
  const TokenSealer& tokens_;
  WorkerCounters& counters_;
  SourceBuckets strangers_;
  TokenBucket all_strangers_;
  SourceBuckets discoverers_;
  TransactionIds ids_;
  SourceBuckets icmp_receivers_;
  RequestLimits requests_;
  std::uint32_t icmp_second_ = 0;  // the second in which icmp_sent_ were sent
  std::uint32_t icmp_sent_ = 0;
  IpIds ip_ids_;
  BehindRequests behind_requests_;
  Police police_;
  std::optional<FastLane> fast_lane_;  // none if Setup says so
};

}  // namespace turnpike::flow
