// What a thread that reads bytes from the network can never do again, whatever those bytes make of
// it: start a program, open a file or a socket, look into another process (seccomp(2)).
#pragma once

namespace turnpike::dataplane {

// For the calling thread, for good: what is refused fails with EPERM. False where the kernel can't.
bool enter_sandbox();

}  // namespace turnpike::dataplane
