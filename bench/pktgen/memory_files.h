// The files that DPDK's memory is in. The memif driver hands them to its server, and closes DPDK's
// own descriptors when the connection ends: a zero-copy client that was refused once could never
// connect again. So they are kept here, and put back.
#pragma once

#include <vector>

namespace turnpike::pktgen {

class MemoryFiles {
 public:
  MemoryFiles();
  ~MemoryFiles();
  MemoryFiles(const MemoryFiles&) = delete;
  MemoryFiles& operator=(const MemoryFiles&) = delete;

  // False if one can't be put back: its number has been given to another file.
  bool restore() const;

 private:
  struct File {
    int number, copy;
  };
  std::vector<File> files_;
};

}  // namespace turnpike::pktgen
