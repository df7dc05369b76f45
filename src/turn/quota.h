// What only all shards together can know: how many allocations each user has, and that no
// five-tuple has two. Exact, because one ledger counts them all; it is asked once for each
// allocation made or ended, so a lock is cheap enough.
//
// A five-tuple's requests go to the shard that has its allocation. As long as there is none, an
// Allocate with a RESERVATION-TOKEN goes to the shard that sealed the token, any other to the one
// that the five-tuple hashes to: two on their way at once would make two allocations.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include "turnpike/address.h"

namespace turnpike {

class QuotaLedger {
 public:
  // 0: no limit. A single shard knows its own five-tuples: the ledger then keeps none.
  QuotaLedger(std::uint32_t per_user, std::uint32_t total, bool several_shards)
      : per_user_(per_user), total_(total), several_shards_(several_shards) {}

  enum class Verdict : std::uint8_t { kReserved, kOverQuota, kFiveTupleTaken };

  // Any thread. Unless kReserved, nothing has changed.
  Verdict reserve(const std::string& user, const FiveTuple& five_tuple) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_ && five_tuples_.contains(five_tuple)) return Verdict::kFiveTupleTaken;
    if (total_ != 0 && used_ >= total_) return Verdict::kOverQuota;
    const auto found = users_.find(user);
    if (per_user_ != 0 && found != users_.end() && found->second >= per_user_)
      return Verdict::kOverQuota;
    if (several_shards_) five_tuples_.insert(five_tuple);
    ++used_;
    ++users_[user];
    return Verdict::kReserved;
  }
  // What was reserved, by the same names.
  void release(const std::string& user, const FiveTuple& five_tuple) {
    const std::scoped_lock lock(mutex_);
    if (several_shards_) five_tuples_.erase(five_tuple);
    --used_;
    const auto found = users_.find(user);
    if (found != users_.end() && --found->second == 0) users_.erase(found);
  }
  std::uint32_t count(const std::string& user) const {
    const std::scoped_lock lock(mutex_);
    const auto found = users_.find(user);
    return found == users_.end() ? 0 : found->second;
  }

 private:
  const std::uint32_t per_user_;
  const std::uint32_t total_;
  const bool several_shards_;
  mutable std::mutex mutex_;
  std::uint32_t used_ = 0;  // allocations, of all users
  std::unordered_map<std::string, std::uint32_t> users_;
  // Ordered: clients choose their ports, and no key protects a hash here.
  std::set<FiveTuple> five_tuples_;
};

}  // namespace turnpike
