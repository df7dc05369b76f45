// A cached set is a file named by what it was made of: the patterns, the library's version and the
// processor's features. It holds what hs_serialize_database() gave, behind a digest of it.
#include "policy/pattern_cache.h"

#include <fcntl.h>
#include <hs.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace turnpike::policy {
namespace {

using Digest = std::array<std::uint8_t, 32>;

class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new()) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) != 1)
      throw std::bad_alloc();
  }
  ~Hasher() { EVP_MD_CTX_free(context_); }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void add(const void* bytes, std::size_t size) { EVP_DigestUpdate(context_, bytes, size); }
  void add(std::uint64_t number) { add(&number, sizeof number); }
  // With its length, so that no two lists of texts read alike.
  void add(std::string_view text) {
    add(std::uint64_t{text.size()});
    add(text.data(), text.size());
  }
  Digest end() {
    Digest digest;
    EVP_DigestFinal_ex(context_, digest.data(), nullptr);
    return digest;
  }

 private:
  EVP_MD_CTX* context_;
};

std::string name_of(std::span<const Pattern> patterns) {
  hs_platform_info_t platform{};
  hs_populate_platform(&platform);
  Hasher hasher;
  hasher.add(std::string_view(hs_version()));
  hasher.add(platform.tune);
  hasher.add(platform.cpu_features);
  for (const Pattern& pattern : patterns) {
    hasher.add(std::string_view(pattern.expression));
    hasher.add(std::uint64_t{pattern.caseless} << 32 | pattern.id);
  }
  std::string name;
  for (const std::uint8_t byte : hasher.end()) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name + ".hs";
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

  bool read_all(void* out, std::size_t size) const {
    auto* at = static_cast<char*>(out);
    while (size > 0) {
      const ssize_t got = read(fd_, at, size);
      if (got <= 0) return false;
      at += got;
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }
  bool write_all(const void* bytes, std::size_t size) const {
    const auto* at = static_cast<const char*>(bytes);
    while (size > 0) {
      const ssize_t put = write(fd_, at, size);
      if (put <= 0) return false;
      at += put;
      size -= static_cast<std::size_t>(put);
    }
    return true;
  }

 private:
  int fd_;
};

// Whether nobody but us and root may have written it: what is in it is run, in a way.
bool is_ours(const struct stat& found) {
  return (found.st_uid == geteuid() || found.st_uid == 0) && (found.st_mode & 022) == 0;
}

constexpr const char* kNotOurs = "others than root and this user may write there";

}  // namespace

PatternCache::PatternCache(std::string folder, std::span<const Pattern> patterns)
    : folder_(std::move(folder)) {
  if (folder_.empty()) return;
  path_ = folder_ + "/" + name_of(patterns);
  struct stat found {};
  if (mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
    fails(folder_, std::strerror(errno));
  else if (stat(folder_.c_str(), &found) != 0)
    fails(folder_, std::strerror(errno));
  else if (!S_ISDIR(found.st_mode))
    fails(folder_, "no folder");
  else if (!is_ours(found))
    fails(folder_, kNotOurs);
  if (!problem_.empty()) folder_.clear();
}

void PatternCache::fails(const std::string& path, const std::string& why) {
  if (problem_.empty()) problem_ = path + ": " + why;
}

std::optional<std::vector<char>> PatternCache::read() {
  if (folder_.empty()) return std::nullopt;
  const File file(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat found {};
  if (file.fd() < 0 || fstat(file.fd(), &found) != 0) {
    if (errno != ENOENT) fails(path_, std::strerror(errno));
    return std::nullopt;
  }
  if (!S_ISREG(found.st_mode) || !is_ours(found)) {
    fails(path_, kNotOurs);
    return std::nullopt;
  }
  Digest digest;
  const auto size = static_cast<std::size_t>(found.st_size);
  if (size <= digest.size() || size > 2 * PatternSet::kMostBytes) return std::nullopt;
  std::vector<char> bytes(size - digest.size());
  if (!file.read_all(digest.data(), digest.size()) || !file.read_all(bytes.data(), bytes.size()))
    return std::nullopt;
  Hasher hasher;
  hasher.add(bytes.data(), bytes.size());
  if (hasher.end() != digest) return std::nullopt;
  return bytes;
}

bool PatternCache::put(const std::string& path, std::span<const char> serialized) {
  const File file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.fd() < 0) return false;
  Hasher hasher;
  hasher.add(serialized.data(), serialized.size());
  const Digest digest = hasher.end();
  return file.write_all(digest.data(), digest.size()) &&
         file.write_all(serialized.data(), serialized.size()) &&
         std::rename(path.c_str(), path_.c_str()) == 0;
}

void PatternCache::write(std::span<const char> serialized) {
  if (folder_.empty()) return;
  const std::string unfinished = path_ + "." + std::to_string(getpid());
  if (put(unfinished, serialized)) return;
  fails(unfinished, std::strerror(errno));
  unlink(unfinished.c_str());
}

}  // namespace turnpike::policy
