// Read whole and then by lines. Only the first mistake of a file is told: what is no list at all
// would have one in each of its lines.
#include "config/prefix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace turnpike::config {
namespace {

// A million prefixes of IPv6 in full, and their comments.
constexpr std::size_t kFileSizeMax = std::size_t{128} << 20;
constexpr std::string_view kLineExpected =
    "an address or prefix such as 192.0.2.0/24, without bits beyond its length";
constexpr std::string_view kFileExpected = "the path of a readable file of prefixes";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\v\f";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string quoted(std::string_view text) {
  Value value;
  value.data = std::string(text);
  return describe(value);
}

// As given, if absolute or of the command line; else beside the file that names it.
std::string path_of(const std::string& given, const Origin& origin) {
  const std::size_t slash = origin.file.rfind('/');
  if (given.starts_with('/') || slash == std::string::npos) return given;
  return origin.file.substr(0, slash + 1) + given;
}

struct File {
  explicit File(const std::string& path)
      : fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const int fd;
};

// Returns why it can't be read, or nothing. Only regular files: nobody may be there to write to a
// pipe, and a device has no end.
std::string read_regular_file(const std::string& path, std::string& text) {
  const File file(path);
  struct stat status {};
  if (file.fd < 0 || fstat(file.fd, &status) != 0) return std::strerror(errno);
  if (!S_ISREG(status.st_mode)) return "not a regular file";
  if (static_cast<std::uint64_t>(status.st_size) > kFileSizeMax) return "more than 128 MiB";
  text.resize(static_cast<std::size_t>(status.st_size));
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(file.fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::strerror(errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return "";
}

void take_file(Reader& reader, const Value& value, const std::string& path, PrefixFile& file,
               std::size_t most) {
  const auto* given = value.as<std::string>();
  if (given == nullptr || given->empty() || given->find('\0') != std::string::npos) {
    reader.refuse(path, kFileExpected, describe(value));
    return;
  }
  file.path = path_of(*given, value.origin);
  std::string text;
  const std::string obstacle = read_regular_file(file.path, text);
  if (!obstacle.empty()) {
    reader.refuse(path, kFileExpected, file.path + ": " + obstacle);
    return;
  }
  auto result = parse_prefixes(text, most);
  if (const auto* mistake = std::get_if<PrefixMistake>(&result)) {
    reader.errors().push_back({file.path, mistake->line, path, mistake->problem});
    return;
  }
  file.prefixes = std::move(std::get<std::vector<Prefix>>(result));
}

}  // namespace

std::variant<std::vector<Prefix>, PrefixMistake> parse_prefixes(std::string_view text,
                                                                std::size_t most) {
  std::vector<Prefix> prefixes;
  int line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = text.find('\n');
    const std::string_view whole = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    const std::string_view word = trimmed(whole.substr(0, whole.find_first_of("#;")));
    if (word.empty()) continue;
    const std::optional<Prefix> prefix = Prefix::parse(word);
    if (!prefix) {
      return PrefixMistake{line,
                           "expected " + std::string(kLineExpected) + ", found " + quoted(word)};
    }
    if (prefixes.size() == most) {
      return PrefixMistake{line, "expected at most " + std::to_string(kFilePrefixesMax) +
                                     " prefixes in all files of this key, found more"};
    }
    prefixes.push_back(*prefix);
  }
  prefixes.shrink_to_fit();
  return prefixes;
}

Take prefix_files(std::vector<PrefixFile>& out) {
  return [&out](Reader& reader, const Value& value, const std::string& path) {
    std::size_t left = kFilePrefixesMax;
    const auto item = [&left](PrefixFile& file) {
      return [&file, &left](Reader& below, const Value& one, const std::string& place) {
        take_file(below, one, place, file, left);
        left -= file.prefixes.size();
      };
    };
    list(out, item, "a list of paths, [\"blocklist.netset\"]")(reader, value, path);
  };
}

}  // namespace turnpike::config
