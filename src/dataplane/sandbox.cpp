// The list of system calls that are refused, rather than of those that are allowed: libraries
// differ in the latter.
#include "dataplane/sandbox.h"

#include <seccomp.h>

#include <cerrno>
#include <memory>

namespace turnpike::dataplane {
namespace {

struct FilterDeleter {
  void operator()(void* filter) const { seccomp_release(filter); }
};

// A list of what is refused rather than of what is allowed: drivers differ in what they call to
// poll a queue, and a worker that is killed for it would be the worse failure.
constexpr const char* kRefused[] = {"execve",
                                    "execveat",
                                    "fork",
                                    "vfork",
                                    "open",
                                    "openat",
                                    "openat2",
                                    "creat",
                                    "socket",
                                    "socketpair",
                                    "connect",
                                    "bind",
                                    "listen",
                                    "accept",
                                    "accept4",
                                    "ptrace",
                                    "process_vm_readv",
                                    "process_vm_writev",
                                    "pidfd_getfd",
                                    "bpf",
                                    "mount",
                                    "umount2",
                                    "pivot_root",
                                    "chroot",
                                    "unshare",
                                    "setns",
                                    "init_module",
                                    "finit_module",
                                    "delete_module",
                                    "kexec_load",
                                    "kexec_file_load",
                                    "perf_event_open",
                                    "userfaultfd",
                                    "keyctl",
                                    "add_key",
                                    "request_key",
                                    "io_uring_setup",
                                    "unlink",
                                    "unlinkat",
                                    "rename",
                                    "renameat",
                                    "renameat2",
                                    "link",
                                    "linkat",
                                    "symlink",
                                    "symlinkat",
                                    "chmod",
                                    "fchmodat",
                                    "chown",
                                    "fchownat",
                                    "setuid",
                                    "setresuid",
                                    "capset",
                                    "kill",
                                    "reboot",
                                    "settimeofday",
                                    "clock_settime",
                                    "swapon",
                                    "swapoff"};

}  // namespace

bool enter_sandbox() {
  const std::unique_ptr<void, FilterDeleter> filter(seccomp_init(SCMP_ACT_ALLOW));
  if (filter == nullptr) return false;
  for (const char* name : kRefused) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) continue;  // not on this kind of machine
    if (seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 0) != 0) return false;
  }
  // Older kernels would take speculation from a filtered thread, and a tenth of its speed with it.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_SSB, 1);
  return seccomp_load(filter.get()) == 0;
}

}  // namespace turnpike::dataplane
