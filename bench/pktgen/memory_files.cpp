// Duplicates of the descriptors of DPDK's memory, and which of them is which.
#include "memory_files.h"

#include <fcntl.h>
#include <rte_memory.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace turnpike::pktgen {
namespace {

int collect(const rte_memseg_list* /*list*/, const rte_memseg* segment, void* argument) {
  auto& numbers = *static_cast<std::vector<int>*>(argument);
  const int number = rte_memseg_get_fd(segment);
  if (number >= 0 && std::find(numbers.begin(), numbers.end(), number) == numbers.end())
    numbers.push_back(number);
  return 0;
}

bool same_file(int a, int b) {
  struct stat of_a {};
  struct stat of_b {};
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

}  // namespace

MemoryFiles::MemoryFiles() {
  std::vector<int> numbers;
  rte_memseg_walk(collect, &numbers);
  for (const int number : numbers) {
    const int copy = fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) files_.push_back({number, copy});
  }
}

MemoryFiles::~MemoryFiles() {
  for (const File& file : files_)
    close(file.copy);
}

bool MemoryFiles::restore() const {
  bool good = true;
  for (const auto& [number, copy] : files_) {
    const bool closed = fcntl(number, F_GETFD) < 0;
    good = good && (closed ? dup2(copy, number) == number : same_file(copy, number));
  }
  return good;
}

}  // namespace turnpike::pktgen
