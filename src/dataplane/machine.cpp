// What /proc and /sys say, read as text; a file that isn't there is an answer too.
#include "dataplane/machine.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <tuple>

namespace turnpike::dataplane {
namespace {

template <typename T>
T read_number(const std::string& path, T otherwise) {
  std::ifstream file(path);
  T value{};
  return file >> value ? value : otherwise;
}

std::string core_path(int core) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(core);
}

// The first of a list such as "0,4" or "0-1": cores that are threads of one physical core.
int first_sibling(int core) {
  return read_number(core_path(core) + "/topology/thread_siblings_list", core);
}

}  // namespace

FreePages free_hugepages() {
  const std::string at = "/sys/kernel/mm/hugepages/hugepages-";
  return {read_number<std::uint64_t>(at + "2048kB/free_hugepages", 0) * 2,
          read_number<std::uint64_t>(at + "1048576kB/free_hugepages", 0) * 1024};
}

MemoryPlan plan_memory(const FreePages& free, bool allowed, std::uint32_t wanted_mb) {
  const std::string wanted = std::to_string(wanted_mb) + " MiB of ";
  if (!allowed) return {false, wanted + "4 KiB pages (hugepages = false)"};
  if (free.mb_of_2m >= wanted_mb) return {true, wanted + "2 MiB pages"};
  if (free.mb_of_1g >= wanted_mb) return {true, wanted + "1 GiB pages"};
  return {false, wanted + "4 KiB pages (of hugepages " +
                     std::to_string(std::max(free.mb_of_2m, free.mb_of_1g)) + " MiB are free)"};
}

int socket_of_core(int core) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(core_path(core), error)) {
    const std::string name = entry.path().filename();
    constexpr std::string_view kNode = "node";
    int socket = 0;
    if (name.starts_with(kNode) &&
        std::from_chars(name.data() + kNode.size(), name.data() + name.size(), socket).ec ==
            std::errc())
      return socket;
  }
  return 0;
}

std::vector<Core> cores_of_machine(const std::vector<int>& allowed) {
  std::vector<Core> cores;
  for (const int number : allowed) {
    const int first = first_sibling(number);
    const auto before = std::count_if(cores.begin(), cores.end(), [&](const Core& other) {
      return first_sibling(other.number) == first;
    });
    cores.push_back({number, socket_of_core(number), static_cast<int>(before)});
  }
  return cores;
}

std::vector<int> in_order_of_use(std::vector<Core> cores, int socket) {
  const auto rank = [socket](const Core& core) {
    return std::tuple(socket >= 0 && core.socket != socket, core.sibling, core.number == 0,
                      core.number);
  };
  std::sort(cores.begin(), cores.end(),
            [&](const Core& a, const Core& b) { return rank(a) < rank(b); });
  std::vector<int> numbers;
  for (const Core& core : cores)
    numbers.push_back(core.number);
  return numbers;
}

int socket_of_device(const PortSpec& port) {
  switch (port.driver) {
    case Driver::kPci:
      return read_number("/sys/bus/pci/devices/" + port.device + "/numa_node", -1);
    case Driver::kAfXdp:
    case Driver::kAfPacket:
      return read_number("/sys/class/net/" + port.device + "/device/numa_node", -1);
    case Driver::kTap:
    case Driver::kMemif:
      break;
  }
  return -1;
}

}  // namespace turnpike::dataplane
