// A stream's messages are the same however its bytes are cut, and whoever takes them may stop at
// any of them; what goes to a client that reads slowly is lost by whole messages, and answers
// never are.
#include <rapidcheck.h>

#include <fcntl.h>

#include <cstdio>
#include <cstdlib>

#include "../support/scripted_stream.h"
#include "transport/connection.h"
#include "wire/headers.h"
#include "wire/stream_framing.h"

namespace turnpike {
namespace {

using transport::Connection;
using Message = std::vector<std::uint8_t>;

constexpr std::size_t kMost = 300;  // bytes of a message that is relayed
constexpr std::size_t kWaiting = 2000;
constexpr std::uint16_t kRequest = 0x0003, kIndication = 0x0017, kSuccess = 0x0103;

Message stun(std::uint16_t type, const Message& body) {
  Message made(stun::kHeaderSize + body.size() / 4 * 4);
  wire::store_be16(made.data(), type);
  wire::store_be16(made.data() + 2, static_cast<std::uint16_t>(body.size() / 4 * 4));
  wire::store_be32(made.data() + 4, stun::kMagicCookie);
  std::copy_n(body.begin(), body.size() / 4 * 4, made.begin() + stun::kHeaderSize);
  return made;
}

Message channel_data(const Message& body) {
  Message made(stun::kChannelDataHeaderSize + body.size());
  wire::store_be16(made.data(), 0x4001);
  wire::store_be16(made.data() + 2, static_cast<std::uint16_t>(body.size()));
  std::copy(body.begin(), body.end(), made.begin() + stun::kChannelDataHeaderSize);
  return made;
}

rc::Gen<Message> bytes(std::size_t most) {
  return rc::gen::resize(static_cast<int>(most), rc::gen::arbitrary<Message>());
}

// By its kind; some are longer than is relayed.
rc::Gen<Message> message(std::vector<std::uint16_t> types) {
  return rc::gen::mapcat(rc::gen::inRange<std::size_t>(0, types.size() + 2), [types](
                                                                                 std::size_t kind) {
    return rc::gen::map(bytes(kind % 5 == 4 ? 2 * kMost : 200), [types, kind](const Message& b) {
      return kind < types.size() ? stun(types[kind], b) : channel_data(b);
    });
  });
}

void append_in_stream(Message& stream, const Message& message) {
  stream.insert(stream.end(), message.begin(), message.end());
  stream.resize(stream.size() + wire::size_in_stream(message) - message.size());
}

class World {
 public:
  std::unique_ptr<Connection> connect() {
    const Connection::Ends ends{{Address::v4(192, 0, 2, 1), 1000},
                                {Address::v4(192, 0, 2, 2), 3478}};
    return std::make_unique<Connection>(open("/dev/null", O_RDONLY | O_CLOEXEC), ends,
                                        std::make_unique<test::ScriptedStream>(script), false,
                                        Connection::Bounds{kMost, kWaiting}, 0, counters);
  }
  test::ScriptedStream::Script script;
  StreamCounters counters;
  std::vector<std::uint8_t> room = std::vector<std::uint8_t>(1024 + kMost);
};

void cuts_are_nothing() {
  World world;
  std::vector<Message> sent{stun(kRequest, {})};
  const auto more = *rc::gen::container<std::vector<Message>>(message({kRequest, kIndication}));
  sent.insert(sent.end(), more.begin(), more.end());
  Message stream;
  std::vector<Message> expected;
  for (const Message& one : sent) {
    append_in_stream(stream, one);
    if (one.size() <= kMost) expected.push_back(one);
  }
  std::size_t at = 0;
  while (at < stream.size()) {
    const auto size = std::min(stream.size() - at, *rc::gen::inRange<std::size_t>(1, 400));
    if (size % 7 == 0) world.script.incoming.emplace_back();
    world.script.incoming.emplace_back(stream.begin() + static_cast<std::ptrdiff_t>(at),
                                       stream.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
  }
  const auto stops = *rc::gen::container<std::vector<bool>>(rc::gen::arbitrary<bool>());
  std::size_t asked = 0;
  std::vector<Message> found;
  const auto take = [&](const Connection&, stun::Bytes message) {
    if (asked < stops.size() && stops[asked++]) return false;
    found.emplace_back(message.begin(), message.end());
    return true;
  };
  const auto connection = world.connect();
  auto state = Connection::State::kAgain;
  while (state == Connection::State::kAgain || !world.script.incoming.empty()) {
    state = connection->receive(world.room, 1, take);
    RC_ASSERT(state != Connection::State::kOver);
  }
  RC_ASSERT(found == expected);
  RC_ASSERT(world.counters.messages_in.get() == expected.size());
  RC_ASSERT(world.counters.lost_too_long.get() == sent.size() - expected.size());
}

bool is_answer(const Message& message) {
  return message[0] < 0x40 && (wire::load_be16(message.data()) & 0x0100) != 0;
}

void slow_readers_lose_whole_messages() {
  World world;
  world.script.incoming.push_back(stun(kRequest, {}));
  const auto connection = world.connect();
  connection->receive(world.room, 1, [](const Connection&, stun::Bytes) { return true; });
  std::vector<Message> sent;
  // Who has an allocation has more to wait in.
  if (*rc::gen::arbitrary<bool>()) {
    sent.push_back(stun(kSuccess, {0x00, 0x0D, 0, 4, 0, 0, 2, 0x58}));  // LIFETIME
    connection->send(sent.back());
    RC_ASSERT(connection->flush(world.room, 1) == Connection::State::kOpen);
  }
  bool over = false;
  const auto turns = *rc::gen::inRange(1, 30);
  for (int turn = 0; turn < turns && !over; ++turn) {
    const auto batch = *rc::gen::container<std::vector<Message>>(message({kSuccess, kIndication}));
    for (const std::size_t takes :
         *rc::gen::container<std::vector<std::size_t>>(rc::gen::weightedOneOf<std::size_t>(
             {{2, rc::gen::just<std::size_t>(0)}, {3, rc::gen::inRange<std::size_t>(0, 700)}})))
      world.script.takes.push_back(takes);
    for (const Message& one : batch)
      connection->send(one);
    over = connection->flush(world.room, 1) == Connection::State::kOver;
    sent.insert(sent.end(), batch.begin(), batch.end());
    RC_ASSERT(!over || connection->end() == StreamEnd::kSlow);
  }
  if (!over) {
    world.script.takes.clear();
    RC_ASSERT(connection->flush(world.room, 1) == Connection::State::kOpen);
  }
  // Each is one that was sent, in order; of those passed over none is an answer.
  stun::Bytes came(world.script.outgoing);
  std::size_t next = 0, arrived = 0;
  while (true) {
    const wire::StreamMessage one = wire::first_message(came, true);
    RC_ASSERT(one.state != wire::StreamMessage::State::kStrange);
    if (one.state == wire::StreamMessage::State::kMore || one.taken > came.size()) break;
    const Message message(came.begin(), came.begin() + static_cast<std::ptrdiff_t>(one.size));
    while (next < sent.size() && sent[next] != message) {
      RC_ASSERT(over || !is_answer(sent[next]));
      ++next;
    }
    RC_ASSERT(next < sent.size());
    ++next;
    ++arrived;
    came = came.subspan(one.taken);
  }
  if (over) return;
  RC_ASSERT(came.empty());
  for (; next < sent.size(); ++next)
    RC_ASSERT(!is_answer(sent[next]));
  RC_ASSERT(world.counters.messages_out.get() == arrived);
  RC_ASSERT(world.counters.lost_to_slow.get() == sent.size() - arrived);
}

}  // namespace
}  // namespace turnpike

int main() {
  bool holds = rc::check("the same messages, wherever a stream is cut", turnpike::cuts_are_nothing);
  holds &= rc::check("who reads slowly loses whole messages, and no answer",
                     turnpike::slow_readers_lose_whole_messages);
  return holds ? EXIT_SUCCESS : EXIT_FAILURE;
}
