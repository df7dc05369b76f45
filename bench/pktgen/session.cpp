// What each flow asks next, and when it asks again; the replies may come in any order.
#include "session.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "clock.h"
#include "stop.h"
#include "turnpike/stun.h"
#include "wire/headers.h"

namespace turnpike::pktgen {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::size_t kMostRequest = 1024;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kFamilyIpv6 = 2;
constexpr std::uint8_t kMostRefusals = 4;
constexpr double kLeastTimeout = 0.01, kMostTimeout = 1.0;
constexpr double kLeastWindow = 16;

// Salt, flow, serial: what a response must bring back.
stun::TransactionId transaction_id(std::uint32_t salt, std::uint32_t flow, std::uint8_t serial) {
  stun::TransactionId id{};
  wire::store_be32(id.data(), salt);
  wire::store_be32(id.data() + 4, flow);
  id[8] = serial;
  return id;
}

}  // namespace

Session::Session(const Options& options, const Plan& plan, Port& client_port, Port& peer_port)
    : options_(options),
      plan_(plan),
      client_port_(client_port),
      peer_port_(peer_port),
      flows_(plan.flows()),
      salt_(static_cast<std::uint32_t>(cycles_now() >> 8)),
      window_(options.window),
      challenge_window_(std::min<double>(options.window, kLeastWindow)),
      refresh_s_(options.refresh_s),
      began_(cycles_now()) {}

std::uint32_t Session::now_s() const {
  return static_cast<std::uint32_t>(seconds_of(cycles_now() - began_));
}

std::uint32_t Session::now_us() const {
  return static_cast<std::uint32_t>(
      static_cast<std::uint64_t>(seconds_of(cycles_now() - began_) * 1e6));
}

std::string_view Session::nonce(std::uint32_t number) const {
  return {nonces_.data() + number * nonce_room_, flows_[number].nonce_size};
}

Endpoint Session::relayed(std::uint32_t flow) const {
  const Flow& state = flows_[flow];
  return {relayed_addresses_[state.relayed_address], state.relayed_port};
}

void Session::pretend() {
  for (const auto& server : options_.servers)
    relayed_addresses_.push_back(server ? server->address : Address());
  for (std::uint32_t i = 0; i < flows_.size(); ++i) {
    flows_[i].relayed_address = static_cast<std::uint8_t>(family_index(plan_.peer_family(i)));
    flows_[i].relayed_port = static_cast<std::uint16_t>(49152 + i % 16384);
    flows_[i].step = Step::kReady;
    flows_[i].due_s = ~std::uint32_t{0};
  }
}

void Session::set_up(double per_second) {
  const std::uint64_t began = cycles_now();
  std::uint32_t next = 0;
  while ((next < flows_.size() || in_flight_ > 0) && !stop_requested()) {
    double allowed = std::min(window_ - in_flight_, challenge_window_ - challenges_);
    if (per_second > 0)
      allowed = std::min(allowed, seconds_of(cycles_now() - began) * per_second - next);
    for (; allowed >= 1 && next < flows_.size(); --allowed)
      begin(next++, Step::kChallenge);
    poll();
  }
  resolve_relayed();
}

// Peers' frames go to relayed addresses, which are known only now.
void Session::resolve_relayed() {
  for (std::size_t family = 0; family < 2; ++family) {
    for (std::uint32_t i = 0; i < flows_.size() && i < 64; ++i) {
      if (is_set_up(flows_[i]) && family_index(plan_.peer_family(i)) == family) {
        peer_port_.resolve(plan_, relayed(i).address, plan_.peer(i).address);
        break;
      }
    }
  }
}

std::string Session::explain_failures() const {
  std::string text = std::to_string(counts_.failed) + " of " + std::to_string(flows_.size()) +
                     " allocations could not be set up";
  for (const auto& [code, count] : counts_.errors) {
    text += "; " + std::to_string(count) + " times " + std::to_string(code) + " " +
            std::string(stun::reason_phrase(code));
  }
  if (counts_.errors.contains(401)) text += "; check --user and --password";
  if (counts_.errors.contains(403)) text += "; the server must allow the peers (--peers)";
  if (counts_.errors.contains(486) || counts_.errors.contains(508))
    text += "; raise the server's limits or give fewer --allocations";
  if (counts_.responses == 0) text += "; nothing answers at --server";
  return text;
}

void Session::begin(std::uint32_t number, Step step) {
  Flow& flow = flows_[number];
  enter(flow, step);
  ++flow.serial;
  flow.sends = 0;
  ++counts_.requests;
  send(number);
}

void Session::finish(std::uint32_t number, Step step) {
  enter(flows_[number], step);
  flows_[number].refusals = 0;
}

void Session::enter(Flow& flow, Step step) {
  const auto count = [this](const Flow& state, std::uint32_t by) {
    if (in_flight(state)) in_flight_ += by;
    if (state.step == Step::kChallenge) challenges_ += by;
  };
  count(flow, ~std::uint32_t{0});
  flow.step = step;
  count(flow, 1);
}

void Session::send(std::uint32_t number) {
  Flow& flow = flows_[number];
  std::array<std::uint8_t, kMostRequest> buffer;
  const Bytes message = write_request(number, buffer);
  const Endpoint client = plan_.client(number);
  const Family family = client.address.family;
  const std::size_t headers = headers_size(family);
  if (std::uint8_t* frame = client_port_.queue_room(headers + message.size()); frame != nullptr) {
    write_headers(frame, client_port_.macs(family), client, plan_.server(number), message.size());
    std::memcpy(frame + headers, message.data(), message.size());
    set_udp_checksum(frame, family, message.size());
  }
  if (flow.sends == 0) flow.sent_us = now_us();
  const double timeout =
      std::min(kMostTimeout, std::clamp(8 * round_trip_s_, kLeastTimeout, kMostTimeout) *
                                 static_cast<double>(1U << flow.sends));
  timers_[flow.sends].push_back({cycles_now() + cycles_of(timeout), number, flow.serial});
  ++flow.sends;
}

Bytes Session::write_request(std::uint32_t number, std::span<std::uint8_t> buffer) {
  const Flow& flow = flows_[number];
  const auto method = [&] {
    switch (flow.step) {
      case Step::kBind:
      case Step::kRebind:
        return options_.indications ? Method::kCreatePermission : Method::kChannelBind;
      case Step::kRefresh:
      case Step::kRelease:
      case Step::kClear:
        return Method::kRefresh;
      default:
        return Method::kAllocate;
    }
  }();
  MessageWriter writer(buffer, Class::kRequest, method, transaction_id(salt_, number, flow.serial));
  if (method == Method::kAllocate) {
    writer.add_u8_rfffu(Attribute::kRequestedTransport, kUdp);
    if (plan_.peer_family(number) == Family::kIpv6)
      writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, kFamilyIpv6);
    writer.add_u32(Attribute::kLifetime, options_.lifetime_s);
  } else if (method == Method::kRefresh) {
    writer.add_u32(Attribute::kLifetime, flow.step == Step::kRefresh ? options_.lifetime_s : 0);
  } else {
    if (method == Method::kChannelBind) writer.add_channel_number(kChannel);
    writer.add_xor_address(Attribute::kXorPeerAddress, plan_.peer(number));
  }
  if (flow.step != Step::kChallenge && flow.nonce_size > 0) sign(number, writer);
  return writer.finish();
}

void Session::sign(std::uint32_t number, MessageWriter& writer) const {
  writer.add_text(Attribute::kUsername, options_.user);
  writer.add_text(Attribute::kRealm, realm_);
  writer.add_text(Attribute::kNonce, nonce(number));
  writer.add_message_integrity(key_.view());
}

bool Session::handle(std::uint32_t number, Bytes bytes) {
  MessageView message;
  Flow& flow = flows_[number];
  if (MessageView::parse(bytes, message) != stun::ParseError::kNone || !in_flight(flow) ||
      message.transaction_id() != transaction_id(salt_, number, flow.serial))
    return false;
  ++counts_.responses;
  if (flow.sends == 1) {
    const std::uint32_t took_us = now_us() - flow.sent_us;
    counts_.latency_ns.record(std::uint64_t{took_us} * 1000);
    if (flow.step == Step::kRefresh || flow.step == Step::kRebind)
      counts_.refresh_ns.record(std::uint64_t{took_us} * 1000);
    round_trip_s_ += (static_cast<double>(took_us) * 1e-6 - round_trip_s_) / 8;
    double& window = flow.step == Step::kChallenge ? challenge_window_ : window_;
    window = std::min<double>(options_.window, window + 1 / window);
  }
  if (message.message_class() == Class::kSuccess) {
    succeed(number, message);
  } else if (message.message_class() == Class::kError) {
    refuse(number, message);
  }
  return true;
}

bool Session::learn_relayed(Flow& flow, const MessageView& message) {
  const auto relayed = message.xor_address(Attribute::kXorRelayedAddress);
  if (!relayed || !stun::check_message_integrity(message, key_.view())) return false;
  // What was granted may end before the next refresh that was asked for.
  if (const auto lifetime = message.u32(Attribute::kLifetime))
    refresh_s_ = std::max(std::min(refresh_s_, *lifetime / 2), std::uint32_t{1});
  auto found = std::find(relayed_addresses_.begin(), relayed_addresses_.end(), relayed->address);
  if (found == relayed_addresses_.end()) {
    if (relayed_addresses_.size() == 256) return false;
    found = relayed_addresses_.insert(found, relayed->address);
  }
  flow.relayed_address = static_cast<std::uint8_t>(found - relayed_addresses_.begin());
  flow.relayed_port = relayed->port;
  return true;
}

void Session::succeed(std::uint32_t number, const MessageView& message) {
  Flow& flow = flows_[number];
  switch (flow.step) {
    case Step::kAllocate:
      if (!learn_relayed(flow, message)) return give_up(number);
      ++counts_.allocated;
      return begin(number, Step::kBind);
    case Step::kClear:
      return begin(number, Step::kAllocate);
    case Step::kBind:
    case Step::kRebind:
      flow.due_s = now_s() + refresh_s_;
      return finish(number, Step::kReady);
    case Step::kRefresh:
      return begin(number, Step::kRebind);
    case Step::kRelease:
      ++counts_.released;
      return finish(number, Step::kGone);
    default:
      return give_up(number);
  }
}

// 401 and 438 bring a nonce to try again with; 437 to an Allocate means that an earlier run's
// allocation is still there.
void Session::refuse(std::uint32_t number, const MessageView& message) {
  Flow& flow = flows_[number];
  const std::uint16_t code = message.error_code().value_or(0);
  if ((code == 401 || code == 438) && ++flow.refusals <= kMostRefusals &&
      learn_challenge(number, message)) {
    return begin(number, flow.step == Step::kChallenge ? Step::kAllocate : flow.step);
  }
  if (flow.step == Step::kClear && code == 437) return begin(number, Step::kAllocate);
  if (flow.step == Step::kAllocate && code == 437 && ++flow.refusals <= kMostRefusals)
    return begin(number, Step::kClear);
  ++counts_.errors[code];
  give_up(number);
}

bool Session::learn_challenge(std::uint32_t number, const MessageView& message) {
  const auto nonce = message.text(Attribute::kNonce);
  const auto realm = message.text(Attribute::kRealm);
  if (!nonce || nonce->empty()) return false;
  if (realm && *realm != realm_) {
    realm_ = *realm;
    key_ = stun::long_term_key(stun::PasswordAlgorithm::kMd5, options_.user, realm_,
                               options_.password);
  }
  if (nonce_room_ == 0) {
    nonce_room_ = std::min<std::size_t>(nonce->size() + 16, 255);
    nonces_.resize(nonce_room_ * flows_.size());
  }
  if (nonce->size() > nonce_room_) return false;
  std::memcpy(nonces_.data() + number * nonce_room_, nonce->data(), nonce->size());
  flows_[number].nonce_size = static_cast<std::uint8_t>(nonce->size());
  return true;
}

void Session::give_up(std::uint32_t number) {
  Flow& flow = flows_[number];
  const bool kept = flow.step == Step::kRefresh || flow.step == Step::kRebind;
  // A server that is silent for a while (stopped, or drowned) still has the allocation: asked
  // again.
  if (kept) {
    flow.due_s = now_s() + 1;
    return finish(number, Step::kReady);
  }
  if (flow.step != Step::kRelease) ++counts_.failed;
  finish(number, flow.step == Step::kRelease ? Step::kGone : Step::kFailed);
}

void Session::check_timers() {
  const std::uint64_t now = cycles_now();
  for (std::size_t sends = 0; sends < timers_.size(); ++sends) {
    std::deque<Timer>& queue = timers_[sends];
    for (; !queue.empty() && queue.front().deadline <= now; queue.pop_front()) {
      const Timer timer = queue.front();
      const Flow& flow = flows_[timer.flow];
      if (!in_flight(flow) || flow.serial != timer.serial || flow.sends != sends + 1) continue;
      if (flow.sends == kMostSends) {
        ++counts_.timeouts;
        give_up(timer.flow);
        continue;
      }
      // Once for each timeout's length, since what was lost together tells one thing.
      if (now > window_cut_at_ + cycles_of(kLeastTimeout)) {
        double& window = flow.step == Step::kChallenge ? challenge_window_ : window_;
        window = std::max(kLeastWindow, window * 0.7);
        window_cut_at_ = now;
      }
      ++counts_.retransmissions;
      send(timer.flow);
    }
  }
}

void Session::poll() {
  std::array<rte_mbuf*, kBurst> in{};
  unsigned received = 0;
  for (Port* port : {&client_port_, &peer_port_}) {
    const std::uint16_t n = port->receive(in.data(), kBurst);
    for (std::uint16_t i = 0; i < n; ++i)
      handle_frame(*port, bytes_of(in[i]));
    received += n;
    if (n > 0) rte_pktmbuf_free_bulk(in.data(), n);
    port->flush();
    if (&client_port_ == &peer_port_) break;
  }
  check_timers();
  // Where the server's threads share this core, spinning here would only keep answers from coming.
  if (received == 0) sched_yield();
}

void Session::handle_frame(Port& port, Bytes frame) {
  const auto datagram = parse_datagram(frame);
  if (!datagram) {
    if (port.is_kernel_link()) port.answer(frame, plan_);
    return;
  }
  const auto flow = plan_.flow_of_client(datagram->destination);
  if (flow && datagram->source == plan_.server(*flow)) handle(*flow, datagram->payload);
}

void Session::keep() {
  const std::uint32_t now = now_s();
  for (int i = 0; i < 8 && in_flight_ < static_cast<std::uint32_t>(window_); ++i) {
    Flow& flow = flows_[next_refresh_];
    if (flow.step == Step::kReady && flow.due_s > now) break;
    if (flow.step == Step::kReady) begin(next_refresh_, Step::kRefresh);
    next_refresh_ = next_refresh_ + 1 == flows_.size() ? 0 : next_refresh_ + 1;
  }
  check_timers();
  client_port_.flush();
  if (&client_port_ != &peer_port_) peer_port_.flush();
}

void Session::keep_all(double seconds) {
  const std::uint64_t end = cycles_now() + cycles_of(seconds);
  do {
    keep();
    poll();
  } while (in_flight_ > 0 && cycles_now() < end);
}

void Session::release() {
  keep_all(2);
  const std::uint64_t timeouts = counts_.timeouts;
  for (std::uint32_t next = 0; next < flows_.size() || in_flight_ > 0;) {
    for (int i = 0;
         i < 8 && in_flight_ < static_cast<std::uint32_t>(window_) && next < flows_.size();
         ++i, ++next) {
      if (is_set_up(flows_[next])) begin(next, Step::kRelease);
    }
    poll();
    // A server that has gone answers nothing: no use in asking for every allocation.
    if (counts_.timeouts > timeouts) return;
  }
}

}  // namespace turnpike::pktgen
