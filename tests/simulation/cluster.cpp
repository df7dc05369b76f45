// What is true of every answer and of every state between two, whoever the clients are.
#include "cluster.h"

#include <algorithm>

#include "cluster_shard.h"
#include "turnpike/counters.h"

namespace turnpike::simulation {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::Method;
using stun::PasswordAlgorithm;

namespace {

stun::Bytes key_for(const MessageView& request, const User& user) {
  const bool sha256 = request.u32(Attribute::kPasswordAlgorithm) == 0x0002'0000U;
  return (sha256 ? user.keys.sha256 : user.keys.md5)[0].view();
}

bool proven(const MessageView& request, const User& user) {
  const stun::Bytes key = key_for(request, user);
  return request.has(Attribute::kMessageIntegritySha256)
             ? stun::check_message_integrity_sha256(request, key)
             : stun::check_message_integrity(request, key);
}

// Both are the user's, of the kind that is due.
void require_integrity(const MessageView& request, const MessageView& answer, const User& user) {
  require(proven(request, user), "a stranger is answered as a user");
  const stun::Bytes key = key_for(request, user);
  require(request.has(Attribute::kPasswordAlgorithm)
              ? stun::check_message_integrity_sha256(answer, key) &&
                    !answer.has(Attribute::kMessageIntegrity)
              : stun::check_message_integrity(answer, key) &&
                    !answer.has(Attribute::kMessageIntegritySha256),
          "an answer is not signed as its request was");
}

// 0: no limit.
std::uint32_t most(std::uint32_t limit) {
  return limit == 0 ? Model::kNoLimit : limit;
}

constexpr std::array<QuotaLedger::Thing, 3> kThings{
    QuotaLedger::Thing::kAllocation, QuotaLedger::Thing::kPermission, QuotaLedger::Thing::kChannel};

}  // namespace

User make_user(const std::string& name, const std::string& password) {
  User user;
  user.keys = {name,
               name,
               {stun::long_term_key(PasswordAlgorithm::kMd5, name, kRealm, password)},
               {stun::long_term_key(PasswordAlgorithm::kSha256, name, kRealm, password)}};
  user.hash = stun::userhash(name, kRealm);
  return user;
}

const User* find_user(const std::vector<User>& users, const UserName& name) {
  for (const User& user : users) {
    if (name.userhash ? user.hash == *name.userhash : user.keys.username == name.username)
      return &user;
  }
  return nullptr;
}

Cluster::Cluster(Setup setup, Surroundings& surroundings)
    : setup_(std::move(setup)),
      surroundings_(surroundings),
      nonces_({.lifetime_s = setup_.nonce_lifetime_s, .key = {7}}),
      quotas_(setup_.quotas.user, setup_.quotas.node, true, setup_.quotas.source),
      model_(setup_.config, setup_.remembers_ghosts) {
  for (unsigned i = 0; i < setup_.shards; ++i) {
    shards_.push_back(std::make_unique<Shard>(*this, i));
    free_ports_ += counters(i).free_ports.get();
  }
}

Cluster::~Cluster() = default;

const ServerCounters& Cluster::counters(std::size_t shard) const {
  return shards_[shard]->server->counters();
}

std::optional<std::size_t> Cluster::owner_of(const FiveTuple& five_tuple) const {
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    if (shards_[i]->sink.has(five_tuple)) return i;
  }
  return std::nullopt;
}

bool Cluster::hand(const Sent& sent, std::size_t home) {
  std::size_t shard = home;
  MessageView message;
  const bool read = MessageView::parse(sent.bytes, message) == stun::ParseError::kNone;
  if (read) {
    const auto found = message.find(Attribute::kReservationToken);
    const auto content = found ? tokens_.open(found->value) : std::nullopt;
    if (content) shard = content->shard;
  }
  shard = owner_of(sent.five_tuple).value_or(shard);
  if (read && message.method() == Method::kRefresh) {
    const auto found = message.find(Attribute::kMobilityTicket);
    const auto content = found ? tokens_.open_ticket(found->value) : std::nullopt;
    if (content) shard = content->shard;
  }
  const RequestToken token{++tokens_made_};
  open_[token] = sent;
  ++shards_[shard]->handed;
  sources_.insert(sent.five_tuple.client.address);
  shards_[shard]->sink.refused = false;
  // Of exactly its size, so that a byte read beyond it is noticed.
  const std::vector<std::uint8_t> bytes(sent.bytes);
  shards_[shard]->server->handle(now, sent.five_tuple, bytes, token);
  return !open_.contains(token);
}

void Cluster::answered_by_door(const Sent& sent, stun::Bytes answer) {
  const RequestToken token{++tokens_made_};
  open_[token] = sent;
  answered(nullptr, token, answer);
}

void Cluster::keys_arrived(std::size_t shard, const UserName& name, RealmIndex realm,
                           const UserKeys* keys) {
  shards_[shard]->sink.refused = false;
  shards_[shard]->server->keys_arrived(now, name, realm, keys);
}

void Cluster::tick(std::size_t shard) {
  shards_[shard]->server->tick(now);
}

bool Cluster::end(std::size_t shard, AllocationSlot slot, bool closed) {
  const auto found = shards_[shard]->sink.allocations.find(FakeSink::number(slot));
  if (found == shards_[shard]->sink.allocations.end()) return false;
  const FiveTuple five_tuple = found->second.five_tuple;
  Server& server = *shards_[shard]->server;
  if (closed) server.stream_ended(now, slot, 0);
  require(closed || server.end(now, slot), "what is published can't be ended");
  require(!owner_of(five_tuple), "what has been ended is published still");
  model_.end(now, five_tuple);
  return true;
}

// As a worker tells; of a move that there may be no longer.
void Cluster::data_come(const FiveTuple& from) {
  repeat_notice();
  for (const auto& shard : shards_) {
    for (const auto& [slot, move] : shard->sink.moves) {
      if (move.five_tuple != from) continue;
      notices_.push_back({shard.get(), slot, move.number});
      const FiveTuple before = shard->sink.allocations.at(slot).five_tuple;
      shard->server->data_came(now, AllocationSlot{slot}, move.number);
      model_.data_came(now, from);
      owners_[from] = owners_.at(before);
      return;
    }
  }
}

void Cluster::repeat_notice() {
  if (notices_.empty()) return;
  const auto& [shard, slot, number] =
      notices_[surroundings_.random_below(static_cast<std::uint32_t>(notices_.size()))];
  const bool again =
      shard->sink.moves.contains(slot) && shard->sink.moves.at(slot).number == number;
  if (!again) shard->server->data_came(now, AllocationSlot{slot}, number);
}

std::vector<FiveTuple> Cluster::moving() const {
  std::vector<FiveTuple> all;
  for (const auto& shard : shards_) {
    for (const auto& [slot, move] : shard->sink.moves)
      all.push_back(move.five_tuple);
  }
  return all;
}

Sent Cluster::take(RequestToken token) {
  const auto found = open_.find(token);
  require(found != open_.end(), "a request is answered or given up twice");
  Sent sent = std::move(found->second);
  open_.erase(found);
  return sent;
}

const User* Cluster::named_in(const MessageView& request) const {
  UserName name;
  name.username = request.text(Attribute::kUsername).value_or("");
  const auto hash = request.find(Attribute::kUserhash);
  if (hash && hash->value.size() == 32) {
    name.userhash.emplace();
    std::copy(hash->value.begin(), hash->value.end(), name.userhash->begin());
  }
  return find_user(setup_.users, name);
}

// By a shard, or, nullptr, by the stateless answers.
void Cluster::answered(const Shard* by, RequestToken token, stun::Bytes bytes) {
  const Sent sent = take(token);
  MessageView request;
  MessageView answer;
  require(MessageView::parse(sent.bytes, request) == stun::ParseError::kNone &&
              MessageView::parse(bytes, answer) == stun::ParseError::kNone,
          "an answer is not STUN");
  require(
      request.transaction_id() == answer.transaction_id() && request.method() == answer.method(),
      "an answer to another question");
  require(request.has_fingerprint() == answer.has_fingerprint(),
          "a fingerprint without being asked for, or none");
  surroundings_.told(sent, answer);
  if (by == nullptr && request.method() == Method::kBinding) return;
  require(answer.message_class() == (answer.error_code() ? Class::kError : Class::kSuccess),
          "an answer is neither a success nor an error");
  if (answer.error_code()) return refused(by, sent, request, answer);
  require(by != nullptr, "StatelessAnswers lets nobody in");
  succeeded(*by, sent, request, answer);
}

void Cluster::succeeded(const Shard& by, const Sent& sent, const MessageView& request,
                        const MessageView& answer) {
  require(!sent.forged, "a forged request succeeds");
  const User* user = named_in(request);
  require(user != nullptr, "nobody succeeds");
  require_integrity(request, answer, *user);
  judge(by, sent, *user, request, 0);
  for (const auto& redirect : setup_.config.redirects) {
    require(request.method() != Method::kAllocate || sent.five_tuple.server != redirect.server,
            "a redirected client succeeds");
  }
  model_.forget(now);
  const bool made = request.method() == Method::kAllocate && !model_.knows(sent.five_tuple);
  if (made) {
    require(sent.five_tuple.client.address != kTunnelled, "a tunnelled client succeeds");
    owners_[sent.five_tuple] = user;
  }
  const bool wants_leave =
      made || (request.method() == Method::kRefresh && setup_.config.realms[0].strict_expiry);
  require(!wants_leave || !surroundings_.is_gone(*user), "a user who is gone succeeds");
  model_.success(now, sent.five_tuple, user->keys.username, request, answer);
}

void Cluster::refused(const Shard* by, const Sent& sent, const MessageView& request,
                      const MessageView& answer) {
  const std::uint16_t code = *answer.error_code();
  const User* user = named_in(request);
  if (!answer.has(Attribute::kMessageIntegrity) &&
      !answer.has(Attribute::kMessageIntegritySha256)) {
    require(code == 400 || code == 401 || code == 438, "a refusal of a known client's is unsigned");
    require(code != 401 || user == nullptr || surroundings_.is_gone(*user) ||
                request.text(Attribute::kRealm) != kRealm || !proven(request, *user),
            "a user who has proved to be one is refused as a stranger");
    return;
  }
  require(!sent.forged, "a forged request gets a signed refusal");
  require(by != nullptr && user != nullptr, "nobody gets a signed refusal");
  require_integrity(request, answer, *user);
  judge(*by, sent, *user, request, code);
  if (code == 508) model_.had_no_room(request);
}

void Cluster::judge(const Shard& by, const Sent& sent, const User& user, const MessageView& request,
                    std::uint16_t result) {
  // While a request waited for keys, the five-tuple may have come to another shard's.
  const auto owner = owner_of(sent.five_tuple);
  if (owner && shards_[*owner].get() != &by) return;
  Model::Circumstances circumstances;
  circumstances.tables_may_be_full = by.sink.refused;
  circumstances.ports_may_be_short =
      setup_.ports_are_few || by.sink.allocations.size() >= setup_.config.max_allocations;
  circumstances.one_shard = shards_.size() == 1;
  circumstances.tunnelled = sent.five_tuple.client.address == kTunnelled;
  const Address& client = sent.five_tuple.client.address;
  circumstances.source = {quotas_.count_of_source(client), most(setup_.quotas.source),
                          most(setup_.quotas.source)};
  circumstances.node = {published(), most(setup_.quotas.node), most(setup_.quotas.node)};
  circumstances.user = rooms_of(user);
  if (request.method() == Method::kAllocate) {
    // Of the last allocation that was made, or refused when its user had been found to have room.
    const bool made = result == 0 && !model_.allocations().contains(sent.five_tuple);
    if (made || result == 486 || result == 508) note_limits(user, made);
    const std::uint32_t asked = most(limits_for(user).allocations);
    Model::Room& room = circumstances.user[0];
    room.least = room.most = asked;
  }
  for (const QuotaLedger::Thing thing : kThings)
    circumstances.user[static_cast<std::size_t>(thing)].held =
        quotas_.count({user.keys.quota_name}, thing);
  model_.judge(now, sent.five_tuple, user.keys.username, request, result, circumstances);
}

UserLimits Cluster::limits_for(const User& user) const {
  return surroundings_.limits_of(user).value_or(setup_.quotas.user);
}

Cluster::Rooms Cluster::rooms_of(const User& user) const {
  const auto found = limits_.find(&user);
  return found == limits_.end() ? Rooms{} : found->second;
}

// A refusal that comes after the ledger has agreed leaves the new limits to who has something.
void Cluster::note_limits(const User& user, bool made) {
  const UserLimits limits = limits_for(user);
  const std::array<std::uint32_t, 3> news{most(limits.allocations), most(limits.permissions),
                                          most(limits.channels)};
  Rooms& rooms = limits_[&user];
  for (std::size_t i = 0; i < news.size(); ++i) {
    rooms[i].least = made ? news[i] : std::min(rooms[i].least, news[i]);
    rooms[i].most = made ? news[i] : std::max(rooms[i].most, news[i]);
  }
}

std::uint32_t Cluster::published() const {
  std::size_t allocations = 0;
  for (const auto& shard : shards_)
    allocations += shard->sink.allocations.size();
  return static_cast<std::uint32_t>(allocations);
}

Promises Cluster::check() {
  model_.forget(now);
  std::vector<const FakeSink*> sinks;
  std::uint64_t free_ports = 0;
  std::uint64_t reserved = 0;
  for (const auto& shard : shards_) {
    const ServerCounters& counters = shard->server->counters();
    check_counters(setup_.config, counters, shard->sink);
    free_ports += counters.free_ports.get();
    reserved += counters.reservations.get();
    sinks.push_back(&shard->sink);
  }
  require(free_ports + reserved + ports_.size() <= free_ports_, "a port is free and in use");
  Promises promises(setup_.config, model_, sinks, now);
  promises.check_flows();
  check_quotas();
  return promises;
}

// What has expired counts until its shard looks, and is published as long. Reservations count as
// allocations of those who made them, and of where these were.
void Cluster::check_quotas() const {
  std::map<const User*, std::array<std::uint32_t, 3>> of_users;
  std::map<Address, std::uint32_t> of_sources;
  std::uint64_t in_all = 0, in_two_places = 0, counted = 0;
  for (const auto& shard : shards_) {
    const FakeSink& sink = shard->sink;
    const auto owner = [&](AllocationSlot slot) {
      return owners_.at(sink.allocations.at(FakeSink::number(slot)).five_tuple);
    };
    for (const auto& [slot, flow] : sink.allocations) {
      ++of_users[owner(AllocationSlot{slot})][0];
      ++of_sources[flow.five_tuple.client.address];
    }
    for (const auto& [slot, flow] : sink.permissions)
      ++of_users[owner(flow.allocation)][1];
    for (const auto& [slot, flow] : sink.channels)
      ++of_users[owner(flow.allocation)][2];
    for (const auto& [slot, move] : sink.moves) {
      const Address& to = move.five_tuple.client.address;
      if (sink.allocations.at(slot).five_tuple.client.address == to) continue;
      ++of_sources[to];
      ++in_two_places;
    }
    in_all += sink.allocations.size() + shard->server->counters().reservations.get();
  }
  require(published() <= most(setup_.quotas.node), "the node has more than its allocations");
  for (const User& user : setup_.users) {
    const auto count = [&](QuotaLedger::Thing thing) {
      return quotas_.count({user.keys.quota_name}, thing);
    };
    const auto& [allocations, permissions, channels] = of_users[&user];
    require(count(QuotaLedger::Thing::kAllocation) >= allocations,
            "the ledger has lost an allocation");
    require(count(QuotaLedger::Thing::kPermission) == permissions,
            "the ledger counts otherwise than there are permissions");
    require(count(QuotaLedger::Thing::kChannel) == channels,
            "the ledger counts otherwise than there are channels");
    counted += count(QuotaLedger::Thing::kAllocation);
  }
  require(counted == in_all, "the ledger counts otherwise than there are allocations");
  if (setup_.quotas.source == 0) return;
  counted = 0;
  for (const Address& source : sources_) {
    const std::uint32_t count = quotas_.count_of_source(source);
    require(count <= setup_.quotas.source, "a source has more than its allocations");
    require(count >= of_sources[source], "the ledger has lost a source's allocation");
    counted += count;
  }
  require(counted == in_all + in_two_places,
          "the ledger counts otherwise than sources have allocations");
}

void Cluster::end() {
  // Longer than anything lives; then than anything rests.
  for (const std::uint64_t more_ms : {5'000'000U, 100'000U}) {
    now.ms += more_ms;
    for (const auto& shard : shards_) {
      while (shard->server->tick(now)) {
      }
    }
    check();
  }
  check_end();
}

void Cluster::check_end() const {
  std::uint64_t free_ports = 0;
  for (const auto& shard : shards_) {
    const ServerCounters& counters = shard->server->counters();
    free_ports += counters.free_ports.get();
    require(shard->sink.allocations.empty() && shard->sink.permissions.empty() &&
                shard->sink.channels.empty() && counters.reservations.get() == 0,
            "something outlives its time");
    std::uint64_t ended = 0;
    for (const auto& row : counters.requests) {
      for (const Counter& count : row)
        ended += count.get();
    }
    for (const Counter& count : counters.discards)
      ended += count.get();
    require(ended == shard->handed, "the counters don't add up to what was asked");
  }
  require(open_.empty(), "a request has no answer");
  require(free_ports == free_ports_ && ports_.empty(), "a relay port is lost, or there twice");
}

}  // namespace turnpike::simulation
