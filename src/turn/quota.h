// How many allocations each user has, over all shards: exact, because one ledger counts them all.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace turnpike {

class QuotaLedger {
 public:
  // 0: no limit.
  QuotaLedger(std::uint32_t per_user, std::uint32_t total) : per_user_(per_user), total_(total) {}

  // Any thread. False, with nothing counted, if a limit would be exceeded.
  bool reserve(const std::string& user) {
    const std::scoped_lock lock(mutex_);
    if (total_ != 0 && sum_ == total_) return false;
    const auto found = users_.find(user);
    if (per_user_ != 0 && found != users_.end() && found->second == per_user_) return false;
    ++sum_;
    if (found != users_.end()) {
      ++found->second;
    } else {
      users_.emplace(user, 1);
    }
    return true;
  }
  void release(const std::string& user) {
    const std::scoped_lock lock(mutex_);
    const auto found = users_.find(user);
    if (found == users_.end()) return;
    --sum_;
    if (--found->second == 0) users_.erase(found);
  }
  std::uint32_t count(const std::string& user) const {
    const std::scoped_lock lock(mutex_);
    const auto found = users_.find(user);
    return found == users_.end() ? 0 : found->second;
  }

 private:
  const std::uint32_t per_user_;
  const std::uint32_t total_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::uint32_t> users_;
  std::uint32_t sum_ = 0;
};

}  // namespace turnpike
