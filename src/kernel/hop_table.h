// The table of next hops: who holds which, who may make one, and when one that nobody holds comes
// back. A hop never changes but for its MAC: another MTU or tag makes another hop, so that a worker
// never sees half of a change.
//
// Shards hold hops by their entries and let them go when an entry ends. One that nobody holds is
// taken out of the index; after a grace period no worker has its number from an entry any more,
// then its generation changes, and after another one no worker is about to use a number that it
// kept with the old generation (a frame that waits for the MAC): then it is free.
//
// A client chooses its peers, and each that is on the link makes a hop: so a quarter of the table
// is kept for gateways, and who has made many gets more only while there is plenty.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/qsbr.h"
#include "tables/next_hop.h"

namespace turnpike::kernel {

class HopTable {
 public:
  struct Key {
    std::uint32_t interface = 0;  // of the kernel, where the neighbour is known; 0: none
    Address gateway;
    std::uint16_t port = 0;
    std::uint16_t mtu = 0;
    std::array<std::uint8_t, 8> tags{};
    std::uint8_t tag_bytes = 0;
    bool on_link = false;  // a destination itself, not a route's gateway

    friend auto operator<=>(const Key&, const Key&) = default;
  };
  static constexpr std::uint32_t kOwnShare = 64;  // hops on the link that one owner may always make

  // `size` counts the first one, kNoNextHop, which is never used.
  HopTable(std::uint32_t size, Qsbr& qsbr);

  flow::NextHop* data() { return hops_.data(); }
  std::uint32_t capacity() const { return static_cast<std::uint32_t>(hops_.size() - 1); }
  std::uint32_t in_use() const { return used_; }

  // All but release() under the caller's lock.

  // The hop of this key, held once more; a new one starts with what `mac` says. kNoNextHop: no
  // room.
  template <typename Mac>
  flow::NextHopIndex acquire(const Key& key, std::uint32_t owner, Mac&& mac) {
    if (const auto found = index_.find(key); found != index_.end()) return hold(found->second);
    const std::uint32_t made = make(key, owner);
    if (made == 0) return flow::kNoNextHop;
    hops_[made].mac.store(mac(), std::memory_order_relaxed);
    return hold(made);
  }
  // Any thread.
  void release(flow::NextHopIndex index) {
    holders_[static_cast<std::uint32_t>(index)].fetch_sub(1, std::memory_order_release);
  }
  // Looks at the next `most` hops for those that nobody holds, and gives back what has waited long
  // enough. True: there is room again after somebody was refused.
  bool sweep(std::uint32_t most);

  const Key* key_of(std::uint32_t hop) const { return info_[hop].live ? &info_[hop].key : nullptr; }
  std::uint32_t owner_of(std::uint32_t hop) const { return info_[hop].owner; }
  std::uint32_t generation_of(std::uint32_t hop) const {
    return hops_[hop].generation.load(std::memory_order_relaxed);
  }
  std::uint32_t highest() const { return highest_; }  // that was ever in use
  template <typename Visitor>
  void for_each_at(std::uint32_t interface, const Address& gateway, Visitor&& visit) {
    Key least;
    least.interface = interface;
    least.gateway = gateway;
    for (auto at = index_.lower_bound(least);
         at != index_.end() && at->first.interface == interface && at->first.gateway == gateway;
         ++at)
      visit(hops_[at->second], at->first);
  }
  template <typename Visitor>
  void for_each(Visitor&& visit) {
    for (const auto& [key, hop] : index_)
      visit(hops_[hop], key);
  }

 private:
  struct Info {
    Key key;
    std::uint32_t owner = 0;
    bool live = false;  // in the index
  };

  flow::NextHopIndex hold(std::uint32_t hop) {
    holders_[hop].fetch_add(1, std::memory_order_relaxed);
    return flow::NextHopIndex{hop};
  }
  std::uint32_t make(const Key& key, std::uint32_t owner);
  bool may_make_on_link(std::uint32_t owner) const;
  void take_out(std::uint32_t hop);
  bool reclaim();

  Qsbr& qsbr_;
  std::vector<flow::NextHop> hops_;                              // fixed in size
  std::vector<std::atomic<std::uint32_t>> holders_;              // by hop; shards and control: rw
  std::vector<Info> info_;                                       // by hop
  std::map<Key, std::uint32_t> index_;                           // of live ones
  std::unordered_map<std::uint32_t, std::uint32_t> on_link_of_;  // by owner: hops that are not free
  std::vector<std::uint32_t> free_;
  // On the way back: taken out, waiting for the first grace period, and for the second.
  std::vector<std::uint32_t> out_, first_wait_, second_wait_;
  Qsbr::Token first_token_ = 0, second_token_ = 0;
  std::uint32_t used_ = 0;     // not free
  std::uint32_t on_link_ = 0;  // of them
  std::uint32_t cursor_ = 1;
  std::uint32_t highest_ = 0;
  bool refused_ = false;
};

}  // namespace turnpike::kernel
