// What only all shards together can know: what each user and each source has, and that no
// five-tuple has two allocations. Exact, because one ledger counts it all; it is asked once for
// each thing made or ended, so a lock is cheap enough.
//
// A five-tuple's requests go to the shard that has its allocation. As long as there is none, an
// Allocate with a RESERVATION-TOKEN goes to the shard that sealed the token, any other to the one
// that the five-tuple hashes to: two on their way at once would make two allocations.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "turnpike/address.h"
#include "turnpike/realm.h"

namespace turnpike {

// Whom things are counted for: users of one name in two realms are two.
struct QuotaUser {
  std::string name;
  RealmIndex realm = 0;

  friend bool operator==(const QuotaUser&, const QuotaUser&) = default;
};

// What a user may have, in all of his allocations together. 0: no limit.
struct UserLimits {
  // NOLINTNEXTLINE(google-explicit-constructor): most tests limit allocations alone
  UserLimits(std::uint32_t most_allocations, std::uint32_t most_permissions = 0,
             std::uint32_t most_channels = 0, std::uint32_t most_connections = 0)
      : allocations(most_allocations),
        permissions(most_permissions),
        channels(most_channels),
        connections(most_connections) {}

  std::uint32_t allocations;  // and reservations, which hold a port as well
  std::uint32_t permissions;
  std::uint32_t channels;
  std::uint32_t connections;  // with peers (RFC 6062), those among them that are still asked for

  friend bool operator==(const UserLimits&, const UserLimits&) = default;
};

class QuotaLedger {
 public:
  // `per_user`: of whom nothing else is said. `total`: allocations of all users; `per_source`:
  // allocations and reservations of clients at one IPv4 address, or in one /64 of IPv6, whoever
  // their users are; 0: no limit. A single shard knows its own five-tuples: the ledger then keeps
  // none.
  QuotaLedger(const UserLimits& per_user, std::uint32_t total, bool several_shards,
              std::uint32_t per_source = 0)
      : per_user_(counts_of(per_user)),
        total_(total),
        per_source_(per_source),
        several_shards_(several_shards) {}

  enum class Verdict : std::uint8_t {
    kReserved,
    kOverQuota,        // the user has all that is his
    kSourceOverQuota,  // his source has all that may come from there
    kFull,             // the node has no more
    kFiveTupleTaken,
  };
  // A reservation counts as an allocation.
  enum class Thing : std::uint8_t { kAllocation, kPermission, kChannel, kConnection };

  // Any thread, as all that follows. For a new allocation. One that takes up a reservation of the
  // same user's, which was made from the address `reserved_from`, takes over its place, as the
  // user's and, if it comes from there, as the source's; taken_up() follows, or release(). With it
  // the user gets `limits`, or again what all have, for all that he reserves until his next
  // allocation. Unless kReserved, nothing has changed.
  Verdict reserve(const QuotaUser& user, const FiveTuple& five_tuple,
                  const Address* reserved_from = nullptr,
                  const std::optional<UserLimits>& limits = std::nullopt) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_ && five_tuples_.contains(five_tuple)) return Verdict::kFiveTupleTaken;
    if (total_ != 0 && used_ >= total_) return Verdict::kFull;
    const Address& client = five_tuple.client.address;
    const bool moves = reserved_from != nullptr && !is_one_source(*reserved_from, client);
    if ((reserved_from == nullptr || moves) && !has_room(client)) return Verdict::kSourceOverQuota;
    const Counts most = limits ? counts_of(*limits) : per_user_;
    if (reserved_from == nullptr && !take(user, Thing::kAllocation, 1, &most))
      return Verdict::kOverQuota;
    if (Account* account = find(user)) account->most = most;
    if (reserved_from == nullptr || moves) take(client);
    if (several_shards_) five_tuples_.insert(five_tuple);
    ++used_;
    return Verdict::kReserved;
  }
  // What was reserved, by the same names.
  void release(const QuotaUser& user, const FiveTuple& five_tuple,
               const Address* reserved_from = nullptr) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_) five_tuples_.erase(five_tuple);
    --used_;
    const Address& client = five_tuple.client.address;
    if (reserved_from == nullptr) give(user, Thing::kAllocation, 1);
    if (reserved_from == nullptr || !is_one_source(*reserved_from, client)) give(client);
  }
  // The allocation at `stays` may move to `to` (RFC 8016), instead of to `instead`, if there is
  // one: it holds both five-tuples, and a place of each one's source, until one of the two is left.
  Verdict begin_move(const FiveTuple& stays, const FiveTuple* instead, const FiveTuple& to) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_ && five_tuples_.contains(to)) return Verdict::kFiveTupleTaken;
    const auto moves_source = [&stays](const FiveTuple* where) {
      return where != nullptr && !is_one_source(where->client.address, stays.client.address);
    };
    if (moves_source(instead)) give(instead->client.address);
    const bool room = !moves_source(&to) || has_room(to.client.address);
    if (!room) {
      if (moves_source(instead)) take(instead->client.address);
      return Verdict::kSourceOverQuota;
    }
    if (moves_source(&to)) take(to.client.address);
    if (several_shards_ && instead != nullptr) five_tuples_.erase(*instead);
    if (several_shards_) five_tuples_.insert(to);
    return Verdict::kReserved;
  }
  // Of the two five-tuples of one that moves, one has been left.
  void end_move(const FiveTuple& left, const FiveTuple& stays) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_) five_tuples_.erase(left);
    if (!is_one_source(left.client.address, stays.client.address)) give(left.client.address);
  }
  // The reservation is none any more: the source that made it has its place back, unless the
  // allocation took it over.
  void taken_up(const FiveTuple& five_tuple, const Address& reserved_from) {
    const std::scoped_lock lock(mutex_);
    if (!is_one_source(reserved_from, five_tuple.client.address)) give(reserved_from);
  }
  // For a reservation, made from the address `client`. Unless kReserved, nothing has changed.
  Verdict reserve(const QuotaUser& user, const Address& client) {
    const std::scoped_lock lock(mutex_);
    if (!has_room(client)) return Verdict::kSourceOverQuota;
    if (!take(user, Thing::kAllocation, 1)) return Verdict::kOverQuota;
    take(client);
    return Verdict::kReserved;
  }
  void release(const QuotaUser& user, const Address& client) {
    const std::scoped_lock lock(mutex_);
    give(user, Thing::kAllocation, 1);
    give(client);
  }
  // `count` of what hangs on allocations, or none of them: false.
  bool reserve(const QuotaUser& user, Thing thing, std::uint32_t count) {
    const std::scoped_lock lock(mutex_);
    return take(user, thing, count);
  }
  void release(const QuotaUser& user, Thing thing, std::uint32_t count) {
    const std::scoped_lock lock(mutex_);
    give(user, thing, count);
  }
  // A small number of the user's own, from 0, for as long as he has anything; 0 for who has
  // nothing. Who comes back soon has the same again: what goes by it, a limit of what he relays, is
  // not his anew each time. It rests before it is given to another.
  std::uint32_t number(const QuotaUser& user) const {
    const std::scoped_lock lock(mutex_);
    const Account* account = find(user);
    return account == nullptr ? 0 : account->number;
  }
  std::uint32_t count(const QuotaUser& user, Thing thing = Thing::kAllocation) const {
    const std::scoped_lock lock(mutex_);
    const Account* account = find(user);
    return account == nullptr ? 0 : account->counts[static_cast<std::size_t>(thing)];
  }
  // Allocations and reservations of the address's source, where there is a limit of them.
  std::uint32_t count_of_source(const Address& client) const {
    const std::scoped_lock lock(mutex_);
    const auto found = sources_.find(source_of(client));
    return found == sources_.end() ? 0 : found->second;
  }

 private:
  using Counts = std::array<std::uint32_t, 4>;  // by Thing
  struct Account {
    Counts counts{};
    Counts most{};  // 0: no limit
    std::uint32_t number = 0;
    std::optional<std::list<const QuotaUser*>::iterator> rest;  // of who has nothing any more
  };
  struct Hash {
    std::size_t operator()(const QuotaUser& user) const {
      return std::hash<std::string>()(user.name) + user.realm;
    }
  };

  static Counts counts_of(const UserLimits& limits) {
    return {limits.allocations, limits.permissions, limits.channels, limits.connections};
  }

  // Up to `most`; nullptr: to what is the user's by now.
  bool take(const QuotaUser& user, Thing thing, std::uint32_t count, const Counts* most = nullptr) {
    if (count == 0) return true;
    const auto which = static_cast<std::size_t>(thing);
    Account* account = find(user);
    const std::uint64_t has = account == nullptr ? 0 : account->counts[which];
    if (most == nullptr) most = account == nullptr ? &per_user_ : &account->most;
    if ((*most)[which] != 0 && has + count > (*most)[which]) return false;
    (account == nullptr ? open(user) : *account).counts[which] += count;
    return true;
  }
  void give(const QuotaUser& user, Thing thing, std::uint32_t count) {
    if (count == 0) return;
    const auto found = users_.find(user);
    auto& [key, account] = *found;
    account.counts[static_cast<std::size_t>(thing)] -= count;
    if (account.counts == Counts{}) account.rest = resting_.insert(resting_.end(), &key);
  }

  // What one host or one site has: an IPv4 address, and of IPv6 a /64.
  static Address source_of(const Address& client) {
    Address source = client;
    if (client.family == Family::kIpv6)
      std::fill(source.bytes.begin() + 8, source.bytes.end(), std::uint8_t{0});
    return source;
  }
  static bool is_one_source(const Address& one, const Address& other) {
    return source_of(one) == source_of(other);
  }
  bool has_room(const Address& client) const {
    if (per_source_ == 0) return true;
    const auto found = sources_.find(source_of(client));
    return found == sources_.end() || found->second < per_source_;
  }
  void take(const Address& client) {
    if (per_source_ != 0) ++sources_[source_of(client)];
  }
  void give(const Address& client) {
    if (per_source_ == 0) return;
    const auto found = sources_.find(source_of(client));
    if (--found->second == 0) sources_.erase(found);
  }

  // Of who has something; nullptr: he has nothing.
  const Account* find(const QuotaUser& user) const {
    const auto found = users_.find(user);
    return found == users_.end() || found->second.rest ? nullptr : &found->second;
  }
  Account* find(const QuotaUser& user) {
    return const_cast<Account*>(std::as_const(*this).find(user));
  }
  // For who has nothing.
  Account& open(const QuotaUser& user) {
    const auto [found, is_new] = users_.try_emplace(user);
    Account& account = found->second;
    account.most = per_user_;
    if (!is_new) {
      resting_.erase(*account.rest);
      account.rest.reset();
    } else if (resting_.size() > users_.size() - resting_.size()) {
      const auto oldest = users_.find(*resting_.front());
      account.number = oldest->second.number;
      resting_.pop_front();
      users_.erase(oldest);
    } else {
      account.number = next_number_++;
    }
    return account;
  }

  const Counts per_user_;
  const std::uint32_t total_;
  const std::uint32_t per_source_;
  const bool several_shards_;
  mutable std::mutex mutex_;
  std::uint32_t used_ = 0;  // allocations, of all users
  // Who has nothing any more, by when that began, is still among users_. There are never more of
  // them, but one, than have had something at a time.
  std::unordered_map<QuotaUser, Account, Hash> users_;
  std::list<const QuotaUser*> resting_;
  std::uint32_t next_number_ = 0;
  // Ordered: clients choose their addresses and ports, and no key protects a hash here.
  std::map<Address, std::uint32_t> sources_;  // by source_of()
  std::set<FiveTuple> five_tuples_;
};

}  // namespace turnpike
