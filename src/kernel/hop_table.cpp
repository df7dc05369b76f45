// Hops are found by what they are, so that equal ones are one; a free one rests until no worker
// can still read it.
#include "kernel/hop_table.h"

#include <algorithm>
#include <utility>

namespace turnpike::kernel {

using flow::NextHop;

HopTable::HopTable(std::uint32_t size, Qsbr& qsbr)
    : qsbr_(qsbr), hops_(size), holders_(size), info_(size) {
  for (std::uint32_t hop = size - 1; hop > 0; --hop)
    free_.push_back(hop);
  for (std::vector<std::uint32_t>* list : {&out_, &first_wait_, &second_wait_})
    list->reserve(size);
}

bool HopTable::may_make_on_link(std::uint32_t owner) const {
  const std::uint32_t most = capacity() - capacity() / 4;
  if (on_link_ >= most) return false;
  const auto made = on_link_of_.find(owner);
  return made == on_link_of_.end() || made->second < kOwnShare || on_link_ < most / 2;
}

// 0: no room.
std::uint32_t HopTable::make(const Key& key, std::uint32_t owner) {
  if (free_.empty() || (key.on_link && !may_make_on_link(owner))) {
    refused_ = true;
    return 0;
  }
  const std::uint32_t made = free_.back();
  free_.pop_back();
  ++used_;
  highest_ = std::max(highest_, made);
  if (key.on_link) {
    ++on_link_;
    ++on_link_of_[owner];
  }
  info_[made] = {key, owner, true};
  index_.emplace(key, made);
  NextHop& hop = hops_[made];
  hop.port = key.port;
  hop.mtu = key.mtu;
  hop.gateway = key.gateway;
  hop.tags.bytes = key.tags;
  hop.tags.size = key.tag_bytes;
  // Nobody is asked for its MAC before there is a packet for it.
  hop.wanted.store(0, std::memory_order_relaxed);
  return made;
}

void HopTable::take_out(std::uint32_t hop) {
  index_.erase(info_[hop].key);
  info_[hop].live = false;
  out_.push_back(hop);
}

bool HopTable::sweep(std::uint32_t most) {
  for (most = std::min(most, highest_); most > 0; --most) {
    if (info_[cursor_].live && holders_[cursor_].load(std::memory_order_acquire) == 0)
      take_out(cursor_);
    cursor_ = cursor_ >= highest_ ? 1 : cursor_ + 1;
  }
  return reclaim() && std::exchange(refused_, false);
}

// True: something has become free.
bool HopTable::reclaim() {
  bool freed = false;
  if (!second_wait_.empty() && qsbr_.passed(second_token_)) {
    for (const std::uint32_t hop : second_wait_) {
      free_.push_back(hop);
      --used_;
      if (!info_[hop].key.on_link) continue;
      --on_link_;
      const auto made = on_link_of_.find(info_[hop].owner);
      if (--made->second == 0) on_link_of_.erase(made);
    }
    second_wait_.clear();
    freed = true;
  }
  if (second_wait_.empty() && !first_wait_.empty() && qsbr_.passed(first_token_)) {
    for (const std::uint32_t hop : first_wait_) {
      hops_[hop].generation.fetch_add(1, std::memory_order_relaxed);
      hops_[hop].mac.store(0, std::memory_order_relaxed);
    }
    std::swap(first_wait_, second_wait_);
    second_token_ = qsbr_.start();
  }
  if (first_wait_.empty() && !out_.empty()) {
    std::swap(first_wait_, out_);
    first_token_ = qsbr_.start();
  }
  return freed;
}

}  // namespace turnpike::kernel
