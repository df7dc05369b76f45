// Threads meet here once for each connection, never for a message: locks are short.
#include "transport/gate.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "transport/sockets.h"

namespace turnpike::transport {
namespace {

// For all else that the process has open, the metrics' connections among it.
constexpr std::uint64_t kOtherDescriptors = 256;

}  // namespace

Gate::Gate(const Config& config, const policy::ClientRules& clients,
           std::vector<dataplane::Doorbell*> bells)
    : config_(config),
      clients_(clients),
      bells_(std::move(bells)),
      most_connections_(config.connections),
      of_source_(config.connections_per_source) {
  for (std::size_t thread = 0; thread < bells_.size(); ++thread)
    arrivals_.push_back(std::make_unique<Mailbox<Arrival>>(config_.connections));
  warnings_ = reload();
  const std::uint64_t others = kOtherDescriptors + config_.peers.sockets;
  const std::uint64_t descriptors = raise_descriptor_limit(config_.connections + others);
  if (descriptors >= config_.connections + others) return;
  most_connections_ = static_cast<std::uint32_t>(std::max(descriptors, others + 1) - others);
  warnings_.push_back("streams.connections: the process may have " + std::to_string(descriptors) +
                      " descriptors, which are enough for " + std::to_string(most_connections_) +
                      "; LimitNOFILE=, or ulimit -n");
}

// Those on their way when their threads have ended.
Gate::~Gate() {
  std::vector<Arrival> left;
  for (const auto& box : arrivals_) {
    box->take(left);
    for (const Arrival& arrival : left)
      ::close(arrival.fd);
  }
}

bool Gate::has_tls() const {
  return std::any_of(config_.places.begin(), config_.places.end(),
                     [](const Place& place) { return place.security != Security::kPlain; });
}

std::vector<std::string> Gate::reload() {
  if (!has_tls()) return {};
  auto made = std::make_shared<const TlsContext>(config_.certificates, tickets_, Protocol::kTls,
                                                 config_.client_authorities);
  std::vector<std::string> warnings = made->warnings();
  const std::scoped_lock lock(tls_mutex_);
  tls_ = std::move(made);
  return warnings;
}

std::shared_ptr<const TlsContext> Gate::tls() const {
  const std::scoped_lock lock(tls_mutex_);
  return tls_;
}

bool Gate::take_place() {
  if (connections_.fetch_add(1, std::memory_order_relaxed) < most_connections_) return true;
  give_place_back();
  return false;
}

bool Gate::enter(const Address& client, StreamEnd& why) {
  why = StreamEnd::kDenied;
  if (!clients_.answer(client)) return false;
  why = StreamEnd::kSource;
  const std::scoped_lock lock(sources_mutex_);
  if (!of_source_.has_room(client)) return false;
  of_source_.add(client);
  return true;
}

void Gate::leave(const Address& client) {
  const std::scoped_lock lock(sources_mutex_);
  of_source_.remove(client);
}

void Gate::hand_over(std::size_t thread, const Arrival& arrival) {
  [[maybe_unused]] const bool put = arrivals_[thread]->put(arrival);
  assert(put);
  bells_[thread]->ring();
}

}  // namespace turnpike::transport
