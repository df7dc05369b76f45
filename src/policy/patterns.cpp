// A cached set is a file named by what it was made of: the patterns, Hyperscan's version and the
// processor's features. It holds what hs_serialize_database() gave, behind a digest of it.
#include "policy/patterns.h"

#include <fcntl.h>
#include <hs.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>

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

unsigned flags_of(const Pattern& pattern) {
  return HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH | (pattern.caseless ? HS_FLAG_CASELESS : 0U);
}

std::string name_of(std::span<const Pattern> patterns) {
  hs_platform_info_t platform{};
  hs_populate_platform(&platform);
  Hasher hasher;
  hasher.add(std::string_view(hs_version()));
  hasher.add(platform.tune);
  hasher.add(platform.cpu_features);
  for (const Pattern& pattern : patterns) {
    hasher.add(std::string_view(pattern.expression));
    hasher.add(std::uint64_t{flags_of(pattern)} << 32 | pattern.id);
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

hs_database_t* read_cached(const std::string& folder, const std::string& name) {
  struct stat found {};
  const File file(open((folder + "/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.fd() < 0 || stat(folder.c_str(), &found) != 0 || !is_ours(found) ||
      fstat(file.fd(), &found) != 0 || !S_ISREG(found.st_mode) || !is_ours(found))
    return nullptr;
  Digest digest;
  const auto size = static_cast<std::size_t>(found.st_size);
  if (size <= digest.size() || size > 2 * PatternSet::kMostBytes) return nullptr;
  std::vector<char> bytes(size - digest.size());
  if (!file.read_all(digest.data(), digest.size()) || !file.read_all(bytes.data(), bytes.size()))
    return nullptr;
  Hasher hasher;
  hasher.add(bytes.data(), bytes.size());
  if (hasher.end() != digest) return nullptr;
  hs_database_t* database = nullptr;
  return hs_deserialize_database(bytes.data(), bytes.size(), &database) == HS_SUCCESS ? database
                                                                                      : nullptr;
}

// Whole under its name, or not at all.
void write_cached(const std::string& folder, const std::string& name, const hs_database_t* made) {
  struct stat found {};
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return;
  if (stat(folder.c_str(), &found) != 0 || !is_ours(found)) return;
  char* bytes = nullptr;
  std::size_t size = 0;
  if (hs_serialize_database(made, &bytes, &size) != HS_SUCCESS) return;
  const std::unique_ptr<char, void (*)(void*)> owner(bytes, std::free);
  Hasher hasher;
  hasher.add(bytes, size);
  const Digest digest = hasher.end();
  const std::string path = folder + "/" + name;
  const std::string unfinished = path + "." + std::to_string(getpid());
  {
    const File file(
        open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.fd() < 0) return;
    if (file.write_all(digest.data(), digest.size()) && file.write_all(bytes, size) &&
        std::rename(unfinished.c_str(), path.c_str()) == 0)
      return;
  }
  unlink(unfinished.c_str());
}

// What hs_compile says of one expression. One that matches what is empty would match all.
std::optional<std::string> why_not(const Pattern& pattern) {
  hs_expr_info_t* told = nullptr;
  hs_compile_error_t* error = nullptr;
  if (hs_expression_info(pattern.expression.c_str(), flags_of(pattern), &told, &error) !=
      HS_SUCCESS) {
    std::string problem = error->message;
    hs_free_compile_error(error);
    return problem;
  }
  const std::unique_ptr<hs_expr_info_t, void (*)(void*)> info(told, std::free);
  if (info->min_width == 0) return "matches everything: even what is empty";
  return std::nullopt;
}

std::optional<PatternError> first_wrong(std::span<const Pattern> patterns) {
  if (hs_valid_platform() != HS_SUCCESS)
    return PatternError{PatternError::kWholeSet,
                        std::string("this processor lacks what patterns are matched with: SSSE3 "
                                    "for Hyperscan, SSE4.2 for Vectorscan; here it is ") +
                            hs_version()};
  if (patterns.size() > PatternSet::kMostPatterns)
    return PatternError{PatternError::kWholeSet, std::to_string(patterns.size()) +
                                                     " patterns: more than " +
                                                     std::to_string(PatternSet::kMostPatterns)};
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    if (auto problem = why_not(patterns[i])) return PatternError{i, std::move(*problem)};
  }
  return std::nullopt;
}

std::variant<hs_database_t*, PatternError> compile_all(std::span<const Pattern> patterns) {
  std::vector<const char*> expressions;
  std::vector<unsigned> flags, ids;
  for (const Pattern& pattern : patterns) {
    expressions.push_back(pattern.expression.c_str());
    flags.push_back(flags_of(pattern));
    ids.push_back(pattern.id);
  }
  hs_database_t* made = nullptr;
  hs_compile_error_t* error = nullptr;
  const hs_error_t result = hs_compile_multi(expressions.data(), flags.data(), ids.data(),
                                             static_cast<unsigned>(patterns.size()), HS_MODE_BLOCK,
                                             nullptr, &made, &error);
  if (result == HS_SUCCESS) return made;
  PatternError refused{
      error->expression < 0 ? PatternError::kWholeSet : static_cast<std::size_t>(error->expression),
      error->message};
  hs_free_compile_error(error);
  return refused;
}

}  // namespace

void PatternSet::Deleter::operator()(hs_database* database) const {
  hs_free_database(database);
}

std::variant<PatternSet, PatternError> PatternSet::compile(std::span<const Pattern> patterns,
                                                           const std::string& cache) {
  assert(!patterns.empty());
  if (auto wrong = first_wrong(patterns)) return std::move(*wrong);
  const std::string name = name_of(patterns);
  hs_database_t* database = cache.empty() ? nullptr : read_cached(cache, name);
  const bool cached = database != nullptr;
  if (!cached) {
    auto result = compile_all(patterns);
    if (auto* refused = std::get_if<PatternError>(&result)) return std::move(*refused);
    database = std::get<hs_database_t*>(result);
  }
  PatternSet set(database, cached);
  if (set.bytes() > kMostBytes) {
    return PatternError{PatternError::kWholeSet,
                        "compiled they take " + std::to_string(set.bytes() >> 20) + " MiB; " +
                            std::to_string(kMostBytes >> 20) +
                            " MiB is what packets can be held against at speed"};
  }
  if (!cached && !cache.empty()) write_cached(cache, name, database);
  return set;
}

std::size_t PatternSet::bytes() const {
  std::size_t size = 0;
  hs_database_size(database_.get(), &size);
  return size;
}

void Scratch::Deleter::operator()(hs_scratch* scratch) const {
  hs_free_scratch(scratch);
}

Scratch::Scratch(const PatternSet& set) {
  hs_scratch_t* made = nullptr;
  if (hs_alloc_scratch(set.database(), &made) != HS_SUCCESS) throw std::bad_alloc();
  scratch_.reset(made);
}

void Scratch::scan_with(const PatternSet& set, std::span<const std::uint8_t> bytes,
                        OnMatch on_match, void* context) {
  const hs_error_t result =
      hs_scan(set.database(), reinterpret_cast<const char*>(bytes.data()),
              static_cast<unsigned>(bytes.size()), 0, scratch_.get(), on_match, context);
  assert(result == HS_SUCCESS);
  static_cast<void>(result);
}

}  // namespace turnpike::policy
