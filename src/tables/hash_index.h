// A hash index from 64-bit hashes to slot numbers: one writer, any number of readers, no lock, no
// growth. The keys live in the entries that the slots name; the index holds only tags, and whoever
// looks up says whether an entry is the right one.
//
// Design. A bucket is a cache line: seven words and a count.
//
//   word      tag (upper half of the hash) | slot + 1; 0: empty
//   overflow  how many live words have passed this bucket because it was full when they came
//
// A word goes into its home bucket (lower half of the hash), or, if that is full, into the first
// later bucket with room; each full bucket on the way counts it. A look-up reads a bucket and goes
// on to the next only if the count isn't zero: at four words a bucket on average, most keys, absent
// ones too, cost one line.
//
// Why readers need no lock:
//   - A word never moves, so a key that is there cannot hide behind a move from a place not yet
//     read to a place already read (what backward-shift deletion and cuckoo displacement suffer).
//   - The counts on the way rise before the word is stored (release) and fall after it is cleared.
//     Whoever sees the word's publication sees every count on the way above zero until it is
//     withdrawn, and so never stops short of it.
//   - A word is one atomic, so tag and slot belong together. If it is cleared, and its place taken
//     by another key, while a reader looks, the reader sees either; the entry decides.
//   - The entry was written before the word was stored (release) and is read after the word was
//     loaded (acquire). It is rewritten only after a grace period (base/qsbr.h), which is the
//     caller's business.
// Deletion leaves no tombstone: the place is free at once, and counts return to zero.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "tables/large_array.h"

// ThreadSanitizer must see every access that threads share: under it, no vectors.
#if defined(__SANITIZE_THREAD__)
#define TURNPIKE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TURNPIKE_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SSE2__) && !defined(TURNPIKE_THREAD_SANITIZER)
#define TURNPIKE_WHOLE_LINES 1
#include <emmintrin.h>
#endif

namespace turnpike::flow {

// The padding keeps the writer's count off the readers' line.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
class HashIndex {
 public:
  static constexpr std::uint32_t kNone = 0xFFFF'FFFF;

  // Holds up to `capacity` words. Four of seven places used when full: with random hashes one
  // bucket in twenty then overflows.
  explicit HashIndex(std::uint32_t capacity)
      : capacity_(capacity), buckets_(capacity / kMeanWords + 1) {}

  // Writer side. `slot` is below kNone.
  void insert(std::uint64_t hash, std::uint32_t slot) {
    assert(size_ < capacity_ && slot < kNone);
    ++size_;
    std::size_t b = home(hash);
    for (;;) {
      for (std::atomic<std::uint64_t>& cell : buckets_[b].words) {
        if (cell.load(std::memory_order_relaxed) != 0) continue;
        cell.store(word_of(hash, slot), std::memory_order_release);
        return;
      }
      add(buckets_[b].overflow, 1);
      b = after(b);
    }
  }

  // What was inserted with the same arguments.
  void erase(std::uint64_t hash, std::uint32_t slot) {
    const std::uint64_t word = word_of(hash, slot);
    std::size_t b = home(hash);
    std::atomic<std::uint64_t>* cell = place_of(buckets_[b], word);
    for (std::size_t probes = 1; cell == nullptr; ++probes) {
      assert(probes < buckets_.size());
      b = after(b);
      cell = place_of(buckets_[b], word);
    }
    cell->store(0, std::memory_order_release);
    for (std::size_t passed = home(hash); passed != b; passed = after(passed)) {
      add(buckets_[passed].overflow, ~std::uint64_t{0});
    }
    --size_;
  }

  // Reader side. The slot whose entry `matches`, or kNone.
  template <typename Matches>
  std::uint32_t find(std::uint64_t hash, Matches&& matches) const {
    std::size_t b = home(hash);
    // Bounded, because counts that change meanwhile could send a reader round and round.
    for (std::size_t probes = 0; probes < buckets_.size(); ++probes) {
      const Bucket& bucket = buckets_[b];
      for (const std::atomic<std::uint64_t>& cell : bucket.words) {
        const std::uint64_t word = cell.load(std::memory_order_acquire);
        if (has_tag(word, hash) && matches(slot_of(word))) return slot_of(word);
      }
      if (bucket.overflow.load(std::memory_order_acquire) == 0) return kNone;
      b = after(b);
    }
    return kNone;
  }

  // For bulk look-ups: first prefetch() all, then prefetch the entries of the candidate()s (a slot
  // of the right tag in the home bucket: almost always the one), then compare.
  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&buckets_[home(hash)]); }
  std::uint32_t candidate(std::uint64_t hash) const {
    const Bucket& bucket = buckets_[home(hash)];
    const unsigned places = places_of_tag(bucket, static_cast<std::uint32_t>(hash >> 32));
    if (places == 0) return kNone;
    const std::uint64_t word =
        bucket.words[static_cast<std::size_t>(std::countr_zero(places))].load(
            std::memory_order_acquire);
    return has_tag(word, hash) ? slot_of(word) : kNone;
  }

  // Whether what candidate() missed may be in a later bucket: then find() tells.
  bool overflows(std::uint64_t hash) const {
    return buckets_[home(hash)].overflow.load(std::memory_order_acquire) != 0;
  }

  std::size_t bytes() const { return buckets_.size() * sizeof(Bucket); }

 private:
  static constexpr std::size_t kWords = 7;
  static constexpr std::size_t kMeanWords = 4;
  struct alignas(64) Bucket {
    std::array<std::atomic<std::uint64_t>, kWords> words{};  // writer: rw, readers: ro
    std::atomic<std::uint64_t> overflow{0};                  // writer: rw, readers: ro
  };
  static_assert(sizeof(Bucket) == 64);

  // Bit i: word i has, or had a moment ago, this tag. Without a branch: where in the bucket it is
  // can't be predicted.
  static unsigned places_of_tag(const Bucket& bucket, std::uint32_t tag) {
#if defined(TURNPIKE_WHOLE_LINES)
    // A line at once, not atomically: the caller loads the word again. Little-endian: tags are the
    // odd halves.
    const auto* line = reinterpret_cast<const float*>(&bucket);
    const __m128 low = _mm_shuffle_ps(_mm_load_ps(line), _mm_load_ps(line + 4), 0xDD);
    const __m128 high = _mm_shuffle_ps(_mm_load_ps(line + 8), _mm_load_ps(line + 12), 0xDD);
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag));
    const auto match = [wanted](__m128 tags) {
      return static_cast<unsigned>(
          _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_castps_si128(tags), wanted))));
    };
    return (match(low) | match(high) << 4) & ((1U << kWords) - 1);
#else
    unsigned places = 0;
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint64_t word = bucket.words[i].load(std::memory_order_relaxed);
      places |= static_cast<unsigned>(word >> 32 == tag) << i;
    }
    return places;
#endif
  }

  static std::uint64_t word_of(std::uint64_t hash, std::uint32_t slot) {
    return (hash >> 32 << 32) | (slot + 1);
  }
  static std::uint32_t slot_of(std::uint64_t word) {
    return static_cast<std::uint32_t>(word) - 1;
  }
  static bool has_tag(std::uint64_t word, std::uint64_t hash) {
    return (word ^ hash) >> 32 == 0 && static_cast<std::uint32_t>(word) != 0;
  }
  static std::atomic<std::uint64_t>* place_of(Bucket& bucket, std::uint64_t word) {
    for (std::atomic<std::uint64_t>& cell : bucket.words) {
      if (cell.load(std::memory_order_relaxed) == word) return &cell;
    }
    return nullptr;
  }
  // The writer is alone: no read-modify-write is needed.
  static void add(std::atomic<std::uint64_t>& count, std::uint64_t more) {
    count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_release);
  }

  std::size_t home(std::uint64_t hash) const {
    return static_cast<std::size_t>((hash & 0xFFFF'FFFF) * buckets_.size() >> 32);
  }
  std::size_t after(std::size_t bucket) const {
    return bucket + 1 == buckets_.size() ? 0 : bucket + 1;
  }

  const std::uint32_t capacity_;
  LargeArray<Bucket> buckets_;
  alignas(64) std::uint32_t size_ = 0;  // writer's own, off the line that readers read
};

}  // namespace turnpike::flow
