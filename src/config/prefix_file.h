// Files of prefixes, as blocklists come: FireHOL's netsets, Spamhaus' DROP, Team Cymru's bogons.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"
#include "config/reader.h"

namespace turnpike::config {

// Of all files of one key together: a mistaken path shouldn't cost the host its memory.
inline constexpr std::size_t kFilePrefixesMax = 1'000'000;

// What is wrong with a text, and where.
struct PrefixMistake {
  int line = 0;
  std::string problem;
};

// An address or prefix a line, at most `most` of them; what follows '#' or ';' is a comment.
std::variant<std::vector<Prefix>, PrefixMistake> parse_prefixes(std::string_view text,
                                                                std::size_t most);

// A list of paths, relative to the folder of the file that names them; each file is read.
Take prefix_files(std::vector<PrefixFile>& out);

}  // namespace turnpike::config
