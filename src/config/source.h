// Where a configuration comes from, as the command line names it: a file, and flags laid over it.
// It can be read again, when files have changed while the node runs.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/value.h"

namespace turnpike::config {

// Keeps the secrets that flags gave, which stand nowhere else once arguments are hidden, and wipes
// them at its end.
class Source {
 public:
  // `file`: empty, none. `flags`: a tree as of a file. Each of `secret_files` has a REST secret in
  // its first line.
  Source(std::string file, Value::Table flags, std::vector<std::string> secret_files);
  ~Source();
  Source(Source&&) = default;
  Source& operator=(Source&&) = delete;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // What the files say now, with the flags over it; or all that is wrong with that. Changes
  // nothing: whoever goes by what was read before may go on.
  ConfigResult read() const;

  const std::string& file() const { return file_; }

 private:
  std::string file_;
  Value::Table flags_;
  std::vector<std::string> secret_files_;
};

}  // namespace turnpike::config
