// Pieces of a datagram that was put together here and is nobody's here: to the kernel as it would
// have got them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/exception.h"
#include "dataplane/vlan_tags.h"
#include "flow/fragment.h"
#include "wire/headers.h"

namespace turnpike::dataplane {

class KernelPieces final : public flow::FragmentSink {
 public:
  static constexpr std::size_t kMtu = 1500;

  KernelPieces(ExceptionPath& path, std::uint16_t worker, const flow::VlanTags& tags)
      : path_(path), worker_(worker), tags_(tags) {}

  std::span<std::uint8_t> take(std::size_t size) override {
    return size <= room_.size() - kTags ? std::span(room_.data() + kTags, size)
                                        : std::span<std::uint8_t>();
  }
  void done(std::size_t size) override {
    std::uint8_t* frame = room_.data() + kTags - tags_.size;
    std::memmove(frame, room_.data() + kTags, kMacs);
    std::memcpy(frame + kMacs, tags_.bytes.data(), tags_.size);
    if (!path_.to_kernel(worker_, frame, size + tags_.size)) ++lost_;
  }
  std::size_t lost() const { return lost_; }

 private:
  static constexpr std::size_t kTags = 2 * wire::vlan::kSize;

  ExceptionPath& path_;
  const std::uint16_t worker_;
  const flow::VlanTags tags_;
  std::array<std::uint8_t, kTags + wire::ethernet::kSize + kMtu> room_{};
  std::size_t lost_ = 0;
};

}  // namespace turnpike::dataplane
