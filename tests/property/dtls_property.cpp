// A handshake of DTLS comes to its end over a network that loses, repeats and reorders what it
// carries, and what is said then arrives whole, once and to its own, or not at all.
#include <rapidcheck.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <thread>

#include "../support/dtls_world.h"

namespace turnpike {
namespace {

using namespace test;

// What is lost is sent again sooner than by RFC 6347 §4.2.4.1, so that the test ends.
unsigned soon(SSL* /*ssl*/, unsigned /*last_us*/) {
  return 20'000;
}

std::shared_ptr<const transport::TlsContext> context() {
  static transport::TicketKeys tickets;
  static const auto made = [] {
    auto one = dtls_context(tickets);
    SSL_CTX_set_cookie_verify_cb(one->get(), [](SSL* ssl, const unsigned char*, unsigned) {
      DTLS_set_timer_cb(ssl, soon);
      return 1;
    });
    return one;
  }();
  return made;
}

// Does to datagrams what a script says, one number each; when it is at its end, nothing.
class Network {
 public:
  // `cuts`: what goes to us. OpenSSL's client gives up at a cut answer to its hello.
  Network(std::vector<unsigned> script, bool cuts) : script_(std::move(script)), cuts_(cuts) {}

  std::vector<Datagram> carry(std::deque<Datagram>& sent) {
    std::vector<Datagram> arrived;
    for (const Datagram& one : std::exchange(sent, {})) {
      switch (next_ < script_.size() ? script_[next_++] % 8 : 7) {
        case 0:
        case 1:
          break;
        case 2:
          arrived.push_back(one);
          arrived.push_back(one);
          break;
        case 3:
          arrived.insert(arrived.begin(), one);
          break;
        case 4:
          held_.push_back(one);
          break;
        case 5:
          if (cuts_) {
            arrived.emplace_back(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(
                                                                script_[next_ - 1] % one.size()));
          }
          break;
        default:
          arrived.push_back(one);
          for (const Datagram& late : std::exchange(held_, {}))
            arrived.push_back(late);
      }
    }
    return arrived;
  }

 private:
  const std::vector<unsigned> script_;
  const bool cuts_;
  std::size_t next_ = 0;
  std::vector<Datagram> held_;
};

// Those that don't arrive whole and at once.
std::ptrdiff_t lost(const std::vector<unsigned>& script) {
  return std::count_if(script.begin(), script.end(),
                       [](unsigned one) { return one % 8 < 2 || one % 8 == 4 || one % 8 == 5; });
}

void lossy_networks_keep_nobody_out() {
  DtlsWorld world(context());
  const auto client = world.make_client();
  DTLS_set_timer_cb(client->ssl(), soon);
  const auto script = rc::gen::resize(
      rc::kNominalSize,
      rc::gen::container<std::vector<unsigned>>(10, rc::gen::inRange<unsigned>(0, 8000)));
  const auto out = *script, in = *script;
  // OpenSSL's client tries twelve times and gives up; some, on a machine that others use too,
  // before an answer has come.
  RC_PRE(lost(out) + lost(in) <= 9);
  Network there(out, true), back(in, false);
  const auto begin = std::chrono::steady_clock::now();
  const auto carry = [&] {
    for (const Datagram& one : there.carry(client->outgoing))
      world.to_server(world.ends, one);
    for (const Datagram& one : back.carry(world.to_client))
      client->take(one);
  };
  const Instant start = world.now;
  client->step();
  while (!client->is_open()) {
    const auto passed = std::chrono::steady_clock::now() - begin;
    RC_ASSERT(passed < std::chrono::seconds(20));
    RC_ASSERT(!client->failed());
    // OpenSSL's client gives up by itself at some orders of answers to its hellos.
    if (std::string_view(SSL_state_string_long(client->ssl())) == "error") {
      RC_ASSERT(world.ended(StreamEnd::kTls) == 0U);
      return;
    }
    world.now.ms =
        start.ms + static_cast<std::uint64_t>(
                       std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
    carry();
    client->tick();
    world.server.look(world.now, 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  RC_ASSERT(world.ended(StreamEnd::kTls) == 0U);
  std::multiset<std::string> sent;
  for (int i = 0; i < 20; ++i) {
    sent.insert("message " + std::to_string(i));
    client->send("message " + std::to_string(i));
    world.send("message " + std::to_string(i));
    carry();
  }
  for (const auto& got : {world.messages, client->received}) {
    std::multiset<std::string> arrived;
    for (const Datagram& one : got)
      arrived.insert(text_of(one));
    RC_ASSERT(std::includes(sent.begin(), sent.end(), arrived.begin(), arrived.end()));
  }
  world.carry(*client);
  client->send("last");
  world.send("last");
  world.carry(*client);
  RC_ASSERT(text_of(world.messages.back()) == "last");
  RC_ASSERT(text_of(client->received.back()) == "last");
  RC_ASSERT(world.counters.accepted.get() == 1U);
}

}  // namespace
}  // namespace turnpike

int main() {
  if (setenv("RC_PARAMS", "max_success=60", 0) != 0) return EXIT_FAILURE;
  return rc::check("lossy networks keep nobody out", turnpike::lossy_networks_keep_nobody_out)
             ? EXIT_SUCCESS
             : EXIT_FAILURE;
}
