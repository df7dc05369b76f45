// Any datagrams at who reads DTLS, besides those of an honest client of OpenSSL's: they come from
// his address and from others', as they are or as his own changed, and those who have received a
// cookie get as far as OpenSSL.
//
// Besides not crashing: what is read lies within the datagram, an answer to a hello is less than
// the hello, nothing is kept of who has shown no cookie, and nobody hears it; no more associations
// are there than may be; what is heard of the honest client is what he has said, and once he has
// shaken hands nothing keeps him from being heard.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "../support/dtls_world.h"

namespace {

using namespace turnpike;
using namespace test;
using wire::HelloState;

constexpr std::uint64_t kMostMs = 9'000;  // less than a handshake is waited for

void require(bool condition) {
  if (!condition) std::abort();
}

bool within(stun::Bytes part, stun::Bytes whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

const wire::DtlsCookies& cookies() {
  static const wire::DtlsCookies made(DtlsWorld::usual().cookies);
  return made;
}

std::shared_ptr<const transport::TlsContext> context() {
  static transport::TicketKeys tickets;
  static const auto made = dtls_context(tickets);
  return made;
}

HelloState read(stun::Bytes datagram) {
  const wire::DtlsGlance glance = wire::glance_at_dtls(datagram);
  require(glance.least_encrypted + glance.encrypted * wire::dtls::kRecordHeaderSize <=
          datagram.size());
  wire::ClientHello hello;
  const HelloState state = wire::read_client_hello(datagram, hello);
  if (state != HelloState::kWhole) return state;
  require(within(hello.sequence, datagram) && hello.sequence.size() == 6);
  require(within(hello.random, datagram) && hello.random.size() == wire::dtls::kRandomSize);
  require(within(hello.cookie, datagram));
  std::array<std::uint8_t, wire::kMostVerifyRequest> answer;
  const Endpoint client{Address::v4(192, 0, 2, 1), 1}, server{Address::v4(192, 0, 2, 2), 2};
  const auto cookie = cookies().mint({}, client, server, hello.random);
  require(wire::write_hello_verify_request(hello, cookie, answer) < datagram.size());
  return state;
}

class Network {
 public:
  explicit Network(stun::Bytes script) : script_(script) {}

  void run() {
    while (!script_.empty())
      step();
    if (client_->is_open()) speak();
    require(said_ == world_.messages.size() || !client_->is_open());
  }

 private:
  std::uint8_t next() {
    if (script_.empty()) return 0;
    const std::uint8_t value = script_[0];
    script_ = script_.subspan(1);
    return value;
  }

  // As many bytes as the next two say, as far as they are there.
  Datagram bytes() {
    const std::size_t most = std::size_t{next()} << 8 | next();
    const stun::Bytes taken = script_.first(std::min(most, script_.size()));
    script_ = script_.subspan(taken.size());
    return {taken.begin(), taken.end()};
  }

  void step() {
    switch (next() % 8) {
      case 0:
        return carry();
      case 1:
        return from_stranger(bytes());
      case 2:
        return from_stranger(with_cookie(bytes()));
      case 3:
        return to_server(bytes());
      case 4:
        return to_server(changed());
      case 5:
        return speak();
      case 6:
        return wait();
      default:
        return carry_all();
    }
  }

  void carry() {
    client_->step();
    if (!client_->outgoing.empty()) {
      latest_ = client_->outgoing.front();
      client_->outgoing.pop_front();
      to_server(latest_);
    }
    if (world_.to_client.empty()) return;
    const Datagram answer = world_.to_client.front();
    world_.to_client.pop_front();
    client_->take(answer);
  }

  void carry_all() {
    for (unsigned i = 0; i < 20; ++i)
      carry();
  }

  // The latest that the honest client has sent, with one byte changed or the end cut off.
  Datagram changed() {
    Datagram one = latest_;
    const std::size_t at = std::size_t{next()} << 8 | next();
    const std::uint8_t how = next();
    if (one.empty()) return one;
    if (how == 0)
      one.resize(at % one.size());
    else
      one[at % one.size()] ^= how;
    return one;
  }

  void to_server(const Datagram& datagram) {
    read(datagram);
    world_.to_server(world_.ends, datagram);
    require(world_.server.associations() <= DtlsWorld::usual().associations);
  }

  void from_stranger(const Datagram& datagram) {
    transport::Ends from = world_.ends;
    from.client.port = static_cast<std::uint16_t>(2000 + next() % 16);
    wire::ClientHello hello;
    const bool has_cookie =
        wire::read_client_hello(datagram, hello) == HelloState::kWhole &&
        cookies().holds(world_.now, from.client, from.server, hello.random, hello.cookie);
    const std::uint64_t before = world_.counters.accepted.get();
    const std::size_t sent = world_.to_client.size();
    if (has_cookie) let_in_.insert(from.client.port);
    read(datagram);
    world_.server.receive(world_.now, from, {}, datagram);
    if (!let_in_.contains(from.client.port)) {
      require(world_.counters.accepted.get() == before);
      require(world_.to_client.size() == sent);
    }
    // His own answers are nobody's here.
    while (world_.to_client.size() > sent)
      world_.to_client.pop_back();
  }

  // As if its sender had received one: twelve bytes that stand where a cookie does.
  Datagram with_cookie(Datagram datagram) {
    wire::ClientHello hello;
    if (wire::read_client_hello(datagram, hello) != HelloState::kWhole) return datagram;
    if (hello.cookie.size() != wire::DtlsCookies::kSize) return datagram;
    Endpoint client = world_.ends.client;
    client.port = static_cast<std::uint16_t>(2000 + (script_.empty() ? 0 : script_[0] % 16));
    const auto cookie = cookies().mint(world_.now, client, world_.ends.server, hello.random);
    std::copy(cookie.begin(), cookie.end(),
              datagram.begin() + (hello.cookie.data() - datagram.data()));
    return datagram;
  }

  void speak() {
    if (!client_->is_open()) return;
    client_->send(std::to_string(said_));
    carry_all();
    require(world_.messages.size() == said_ + 1);
    require(text_of(world_.messages.back()) == std::to_string(said_));
    require(world_.senders.back().client == world_.ends.client);
    ++said_;
  }

  void wait() {
    const std::uint64_t left = started_.ms + kMostMs - world_.now.ms;
    world_.now.ms += std::min<std::uint64_t>(left, 10 * next());
    world_.server.look(world_.now, 4);
  }

  stun::Bytes script_;
  DtlsWorld world_{context()};
  const Instant started_ = world_.now;
  const std::unique_ptr<DtlsClient> client_ = world_.make_client();
  Datagram latest_;
  std::size_t said_ = 0;
  std::set<std::uint16_t> let_in_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read({data, size});
  if (size <= 4096) Network({data, size}).run();
  return 0;
}
