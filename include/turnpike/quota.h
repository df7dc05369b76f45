// What only all shards together can know: what each user has, and that no five-tuple has two
// allocations. Exact, because one ledger counts it all; it is asked once for each thing made or
// ended, so a lock is cheap enough.
//
// A five-tuple's requests go to the shard that has its allocation. As long as there is none, an
// Allocate with a RESERVATION-TOKEN goes to the shard that sealed the token, any other to the one
// that the five-tuple hashes to: two on their way at once would make two allocations.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

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
             std::uint32_t most_channels = 0)
      : allocations(most_allocations), permissions(most_permissions), channels(most_channels) {}

  std::uint32_t allocations;  // and reservations, which hold a port as well
  std::uint32_t permissions;
  std::uint32_t channels;

  friend bool operator==(const UserLimits&, const UserLimits&) = default;
};

class QuotaLedger {
 public:
  // `per_user`: of whom nothing else is said. `total`: allocations of all users; 0: no limit. A
  // single shard knows its own five-tuples: the ledger then keeps none.
  QuotaLedger(const UserLimits& per_user, std::uint32_t total, bool several_shards)
      : per_user_(counts_of(per_user)), total_(total), several_shards_(several_shards) {}

  enum class Verdict : std::uint8_t {
    kReserved,
    kOverQuota,  // the user has all that is his
    kFull,       // the node has no more
    kFiveTupleTaken,
  };
  // A reservation counts as an allocation.
  enum class Thing : std::uint8_t { kAllocation, kPermission, kChannel };

  // Any thread, as all that follows. For a new allocation; one that takes up a reservation of the
  // same user's takes over its place. With it the user gets `limits`, or again what all have, for
  // all that he reserves until his next allocation. Unless kReserved, nothing has changed.
  Verdict reserve(const QuotaUser& user, const FiveTuple& five_tuple, bool redeems = false,
                  const std::optional<UserLimits>& limits = std::nullopt) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_ && five_tuples_.contains(five_tuple)) return Verdict::kFiveTupleTaken;
    if (total_ != 0 && used_ >= total_) return Verdict::kFull;
    const Counts most = limits ? counts_of(*limits) : per_user_;
    if (!redeems && !take(user, Thing::kAllocation, 1, &most)) return Verdict::kOverQuota;
    if (const auto found = users_.find(user); found != users_.end()) found->second.most = most;
    if (several_shards_) five_tuples_.insert(five_tuple);
    ++used_;
    return Verdict::kReserved;
  }
  // What was reserved, by the same names.
  void release(const QuotaUser& user, const FiveTuple& five_tuple, bool redeems = false) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_) five_tuples_.erase(five_tuple);
    --used_;
    if (!redeems) give(user, Thing::kAllocation, 1);
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
  // nothing. One that is free again rests before it is given to another.
  std::uint32_t number(const QuotaUser& user) const {
    const std::scoped_lock lock(mutex_);
    const auto found = users_.find(user);
    return found == users_.end() ? 0 : found->second.number;
  }
  std::uint32_t count(const QuotaUser& user, Thing thing = Thing::kAllocation) const {
    const std::scoped_lock lock(mutex_);
    const auto found = users_.find(user);
    return found == users_.end() ? 0 : found->second.counts[static_cast<std::size_t>(thing)];
  }

 private:
  using Counts = std::array<std::uint32_t, 3>;  // by Thing
  struct Account {
    Counts counts{};
    Counts most{};  // 0: no limit
    std::uint32_t number = 0;
  };
  struct Hash {
    std::size_t operator()(const QuotaUser& user) const {
      return std::hash<std::string>()(user.name) + user.realm;
    }
  };

  static Counts counts_of(const UserLimits& limits) {
    return {limits.allocations, limits.permissions, limits.channels};
  }

  // Up to `most`; nullptr: to what is the user's by now.
  bool take(const QuotaUser& user, Thing thing, std::uint32_t count, const Counts* most = nullptr) {
    if (count == 0) return true;
    const auto which = static_cast<std::size_t>(thing);
    const auto found = users_.find(user);
    const std::uint64_t has = found == users_.end() ? 0 : found->second.counts[which];
    if (most == nullptr) most = found == users_.end() ? &per_user_ : &found->second.most;
    if ((*most)[which] != 0 && has + count > (*most)[which]) return false;
    (found == users_.end() ? open(user) : found->second).counts[which] += count;
    return true;
  }
  void give(const QuotaUser& user, Thing thing, std::uint32_t count) {
    if (count == 0) return;
    const auto found = users_.find(user);
    found->second.counts[static_cast<std::size_t>(thing)] -= count;
    if (found->second.counts != Counts{}) return;
    free_numbers_.push_back(found->second.number);
    users_.erase(found);
  }
  Account& open(const QuotaUser& user) {
    Account& account = users_[user];
    account.most = per_user_;
    if (free_numbers_.size() > users_.size()) {
      account.number = free_numbers_.front();
      free_numbers_.pop_front();
    } else {
      account.number = next_number_++;
    }
    return account;
  }

  const Counts per_user_;
  const std::uint32_t total_;
  const bool several_shards_;
  mutable std::mutex mutex_;
  std::uint32_t used_ = 0;  // allocations, of all users
  std::unordered_map<QuotaUser, Account, Hash> users_;
  std::deque<std::uint32_t> free_numbers_;
  std::uint32_t next_number_ = 0;
  // Ordered: clients choose their ports, and no key protects a hash here.
  std::set<FiveTuple> five_tuples_;
};

}  // namespace turnpike
