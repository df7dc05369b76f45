// Any bytes of a client's stream, or of a proxy's header before it: however they are cut, the same
// messages come of them, each as long as it says.
#include <fcntl.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "../support/scripted_stream.h"
#include "transport/connection.h"
#include "transport/proxy_header.h"
#include "wire/stream_framing.h"

namespace {

using namespace turnpike;
using transport::Connection;

constexpr std::size_t kMost = 1984;

struct Result {
  std::vector<std::vector<std::uint8_t>> messages;
  bool strange = false;

  friend bool operator==(const Result&, const Result&) = default;
};

Result read(stun::Bytes bytes, std::size_t piece) {
  test::ScriptedStream::Script script;
  StreamCounters counters;
  std::vector<std::uint8_t> room(4096 + kMost);
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const stun::Bytes part = bytes.subspan(at, std::min(piece, bytes.size() - at));
    script.incoming.emplace_back(part.begin(), part.end());
  }
  const Connection::Ends ends{{Address::v4(192, 0, 2, 1), 1000}, {Address::v4(192, 0, 2, 2), 3478}};
  Connection connection(open("/dev/null", O_RDONLY | O_CLOEXEC), ends,
                        std::make_unique<test::ScriptedStream>(script), false,
                        Connection::Bounds{kMost, 1024}, 0, counters);
  Result result;
  const auto take = [&](const Connection&, stun::Bytes message) {
    if (message.size() > kMost) std::abort();
    result.messages.emplace_back(message.begin(), message.end());
    return true;
  };
  auto state = Connection::State::kAgain;
  while (
      state == Connection::State::kAgain ||
      (state == Connection::State::kOpen && !script.incoming.empty() && !connection.is_binding()))
    state = connection.receive(room, 1, take);
  result.strange = state == Connection::State::kOver;
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const transport::ProxyHeader header = transport::read_proxy_header({data, size});
  if (header.state == transport::ProxyHeader::State::kWhole && header.size > size) std::abort();
  const stun::Bytes bytes(data + 1, size - 1);
  const Result whole = read(bytes, bytes.size() + 1);
  const Result pieces = read(bytes, 1 + data[0]);
  if (!(whole == pieces)) std::abort();
  return 0;
}
