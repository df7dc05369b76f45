// Capabilities by libcap-ng: what is missing at the start is told by name, what is no longer
// needed goes for good.
#include "control/privileges.h"

#include <cap-ng.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "log/log.h"

namespace turnpike::control {
namespace {

struct Need {
  int capability;
  const char* reason;
};

constexpr Need kAfXdp[] = {{CAP_NET_ADMIN, "attaches its XDP program"},
                           {CAP_NET_RAW, "opens AF_XDP sockets"},
                           {CAP_BPF, "loads its XDP program"},
                           {CAP_PERFMON, "loads its XDP program"},
                           {CAP_SYS_ADMIN, "finds its maps in the kernel"}};
constexpr Need kAfPacket[] = {{CAP_NET_ADMIN, "keeps the kernel from answering"},
                              {CAP_NET_RAW, "opens packet sockets"}};
constexpr Need kOwned[] = {{CAP_NET_ADMIN, "makes the exception interface"}};

std::span<const Need> needs_of(const config::PortConfig& port) {
  if (port.driver == config::PortDriver::kAfXdp) return kAfXdp;
  if (port.driver == config::PortDriver::kAfPacket) return kAfPacket;
  const bool makes_interface =
      port.driver == config::PortDriver::kTap || port.exception_name != "none";
  return makes_interface ? std::span<const Need>(kOwned) : std::span<const Need>();
}

std::string name_of(int capability) {
  std::string name =
      std::string("CAP_") + capng_capability_to_name(static_cast<unsigned>(capability));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::vector<int> kept_capabilities(const config::Config& config) {
  std::vector<int> kept{CAP_NET_ADMIN};
  if (std::any_of(config.ports.begin(), config.ports.end(), [](const config::PortConfig& port) {
        return config::is_kernel_shared(port.driver);
      }))
    kept.push_back(CAP_NET_RAW);
  if (config.metrics.enabled && config.metrics.address.port < 1024)
    kept.push_back(CAP_NET_BIND_SERVICE);
  // What the process was not given can't be kept.
  std::erase_if(kept, [](int one) {
    return capng_have_capability(CAPNG_PERMITTED, static_cast<unsigned>(one)) == 0;
  });
  return kept;
}

// ThreadSanitizer holds a signal back until the thread it is for calls something, and has a thread
// that takes none: nobody is waited for then.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
constexpr bool kSignalsAreHeldBack = true;
#else
constexpr bool kSignalsAreHeldBack = false;
#endif

std::atomic<unsigned> gave_up{0};

// Capabilities belong to threads. Those that DPDK has made by now need none.
void give_up_all(int /*signal*/) {
  const int saved = errno;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2]{};
  syscall(SYS_capset, &header, none);
  gave_up.fetch_add(1);
  errno = saved;
}

int unused_signal() {
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) return number;
  }
  throw std::runtime_error("every real-time signal is taken");
}

void strip_other_threads() {
  const int number = unused_signal();
  struct sigaction strip {
  }, before{};
  strip.sa_handler = give_up_all;
  strip.sa_flags = SA_RESTART;
  sigaction(number, &strip, &before);
  unsigned asked = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const pid_t thread = std::stoi(entry.path().filename());
    if (thread != gettid() && syscall(SYS_tgkill, getpid(), thread, number) == 0) ++asked;
  }
  if (kSignalsAreHeldBack) return;
  for (int wait = 0; gave_up.load() < asked && wait < 1000; ++wait)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  sigaction(number, &before, nullptr);
  if (gave_up.load() < asked)
    throw std::runtime_error("a thread does not give up its capabilities");
}

void check(int result, const char* what) {
  if (result != 0) throw std::runtime_error(std::string("privileges: ") + what + " failed");
}

}  // namespace

std::string missing_capabilities(const config::Config& config) {
  capng_get_caps_process();
  std::string missing;
  for (const config::PortConfig& port : config.ports) {
    for (const Need& need : needs_of(port)) {
      if (capng_have_capability(CAPNG_EFFECTIVE, static_cast<unsigned>(need.capability)) != 0)
        continue;
      missing += (missing.empty() ? "" : "; ") + std::string("port ") + port.device + " needs " +
                 name_of(need.capability) + " (it " + need.reason + ")";
    }
  }
  return missing;
}

void drop_privileges(const config::Config& config) {
  capng_get_caps_process();
  const bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
  const bool stays_root = config.user.empty() && geteuid() == 0;
  const std::vector<int> kept = kept_capabilities(config);
  capng_clear(CAPNG_SELECT_ALL);
  std::string names;
  for (const int one : kept) {
    // Programs that the clean-up starts (ip, nft) need them too: root has them by the bounding set,
    // anybody else as ambient ones.
    auto types = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;
    if (!stays_root) types = types | CAPNG_INHERITABLE | CAPNG_AMBIENT;
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(types), static_cast<unsigned>(one));
    names += " " + name_of(one);
  }
  const auto select = may_bound ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS;
  if (config.user.empty()) {
    check(capng_apply(select), "dropping capabilities");
    if (!stays_root) check(capng_apply(CAPNG_SELECT_AMBIENT), "keeping capabilities for programs");
  } else {
    const passwd* user = getpwnam(config.user.c_str());
    if (user == nullptr)
      throw std::runtime_error("user " + config.user + ": there is no such user");
    check(capng_change_id(static_cast<int>(user->pw_uid), static_cast<int>(user->pw_gid),
                          static_cast<capng_flags_t>(CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING)),
          "becoming the configured user");
    check(capng_apply(CAPNG_SELECT_AMBIENT), "keeping capabilities for programs");
  }
  // Last: becoming another user is done for all threads together, and each must be able to.
  strip_other_threads();
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  log::info("privileges kept:" + (names.empty() ? " none" : names) +
            (config.user.empty() ? "" : ", as user " + config.user));
}

}  // namespace turnpike::control
