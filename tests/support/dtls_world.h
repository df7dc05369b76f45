// A DtlsServer and OpenSSL's clients of it, in memory: between them a network that a test may have
// lose, repeat, reorder and cut what it carries.
#pragma once

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "transport/dtls_server.h"
#include "wire/dtls_cookie.h"
#include "wire/dtls_records.h"

namespace turnpike::test {

using Datagram = std::vector<std::uint8_t>;

// A certificate that has issued itself, or as many besides, so that the chain is long.
inline std::shared_ptr<const transport::TlsContext> dtls_context(transport::TicketKeys& tickets,
                                                                 const char* key =
                                                                     "ec -pkeyopt "
                                                                     "ec_paramgen_"
                                                                     "curve:P-256",
                                                                 const std::string& more = "") {
  std::string folder = "/tmp/turnpike-dtls-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) std::abort();
  const std::string command = "cd " + folder + " && openssl req -x509 -newkey " + key +
                              " -nodes -days 30 -subj /CN=own " + more +
                              " -keyout own.key -out own.pem 2>/dev/null";
  if (std::system(command.c_str()) != 0) std::abort();
  auto made = std::make_shared<const transport::TlsContext>(
      std::vector<transport::CertificateFiles>{{folder + "/own.pem", folder + "/own.key"}}, tickets,
      transport::Protocol::kDtls);
  std::filesystem::remove_all(folder);
  return made;
}

// OpenSSL's client between two queues.
class DtlsClient {
 public:
  explicit DtlsClient(SSL_CTX* context) : ssl_(SSL_new(context)) {
    BIO* const bio = BIO_new(method());
    BIO_set_data(bio, this);
    SSL_set_bio(ssl_, bio, bio);
    SSL_set_connect_state(ssl_);
    SSL_set_mtu(ssl_, 1232);
  }
  ~DtlsClient() { SSL_free(ssl_); }
  DtlsClient(const DtlsClient&) = delete;
  DtlsClient& operator=(const DtlsClient&) = delete;

  SSL* ssl() { return ssl_; }
  bool is_open() const { return open_; }
  bool failed() const { return failed_; }
  bool is_closed() const { return closed_; }
  // Goes on as far as it gets.
  void step() {
    ERR_clear_error();
    if (!open_) {
      const int done = SSL_do_handshake(ssl_);
      open_ = done == 1;
      if (!open_ && SSL_get_error(ssl_, done) != SSL_ERROR_WANT_READ) failed_ = true;
    }
    if (!open_) return;
    while (true) {
      Datagram message(20000);
      const int got = SSL_read(ssl_, message.data(), static_cast<int>(message.size()));
      if (got <= 0) {
        closed_ |= SSL_get_error(ssl_, got) == SSL_ERROR_ZERO_RETURN;
        ERR_clear_error();
        return;
      }
      message.resize(static_cast<std::size_t>(got));
      received.push_back(message);
    }
  }
  void take(const Datagram& datagram) {
    incoming_ = datagram;
    step();
  }
  void tick() {
    DTLSv1_handle_timeout(ssl_);
    step();
  }
  void send(const std::string& text) {
    SSL_write(ssl_, text.data(), static_cast<int>(text.size()));
  }

  std::deque<Datagram> outgoing;
  std::vector<Datagram> received;

 private:
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* const one = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client");
      BIO_meth_set_read(one, [](BIO* bio, char* into, int most) {
        auto& self = *static_cast<DtlsClient*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        const Datagram datagram = std::exchange(self.incoming_, {});
        if (datagram.empty()) {
          BIO_set_retry_read(bio);
          return -1;
        }
        const int size = std::min(static_cast<int>(datagram.size()), most);
        std::memcpy(into, datagram.data(), static_cast<std::size_t>(size));
        return size;
      });
      BIO_meth_set_write(one, [](BIO* bio, const char* bytes, int size) {
        static_cast<DtlsClient*>(BIO_get_data(bio))->outgoing.emplace_back(bytes, bytes + size);
        return size;
      });
      BIO_meth_set_ctrl(
          one, [](BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1L : 0L; });
      BIO_meth_set_create(one, [](BIO* bio) {
        BIO_set_init(bio, 1);
        return 1;
      });
      return one;
    }();
    return made;
  }

  SSL* const ssl_;
  Datagram incoming_;
  bool open_ = false, failed_ = false, closed_ = false;
};

// A server with one client's place; more clients may come from there one after the other.
class DtlsWorld : private transport::DtlsOutlet {
 public:
  explicit DtlsWorld(std::shared_ptr<const transport::TlsContext> context,
                     transport::DtlsServer::Config config = usual())
      : cookies_(config.cookies),
        server(config, *this, counters),
        client_context_(SSL_CTX_new(DTLS_client_method())) {
    server.use(std::move(context));
    SSL_CTX_set_options(client_context_, SSL_OP_NO_QUERY_MTU);
  }
  ~DtlsWorld() override { SSL_CTX_free(client_context_); }

  static transport::DtlsServer::Config usual() {
    return {.associations = 10,
            .associations_per_source = 0,
            .patience = {10'000, 60'000},
            .key = {1, 2, 3, 4},
            .cookies = {5, 6}};
  }

  std::unique_ptr<DtlsClient> make_client() {
    return std::make_unique<DtlsClient>(client_context_);
  }
  SSL_CTX* client_context() { return client_context_; }

  // As a worker does it: a hello without a good cookie is answered and goes no further.
  void to_server(const transport::Ends& from, const Datagram& datagram) {
    wire::ClientHello hello;
    const auto state = wire::read_client_hello(datagram, hello);
    if (state == wire::HelloState::kBroken) return;
    if (state == wire::HelloState::kWhole &&
        !cookies_.holds(now, from.client, from.server, hello.random, hello.cookie)) {
      const auto cookie = cookies_.mint(now, from.client, from.server, hello.random);
      std::array<std::uint8_t, wire::kMostVerifyRequest> out;
      const std::size_t size = wire::write_hello_verify_request(hello, cookie, out);
      to_client.emplace_back(out.data(), out.data() + size);
      ++verify_requests;
      return;
    }
    server.receive(now, from, way, datagram);
  }
  // Carries all that is there, both ways, until nobody says any more.
  void carry(DtlsClient& client) {
    client.step();
    while (!client.outgoing.empty() || !to_client.empty()) {
      for (const Datagram& one : std::exchange(client.outgoing, {}))
        to_server(ends, one);
      for (const Datagram& one : std::exchange(to_client, {}))
        client.take(one);
    }
  }
  void send(const std::string& text) {
    server.send(now, ends.client, ends.server,
                {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }
  std::uint64_t ended(StreamEnd why) const {
    return counters.ends[static_cast<std::size_t>(why)].get();
  }

 private:
  bool message(const transport::Ends& from, const transport::FrameHeader&,
               stun::Bytes message) override {
    if (!takes) {
      counters.lost_no_frame.add();
      return false;
    }
    messages.emplace_back(message.begin(), message.end());
    senders.push_back(from);
    return true;
  }
  void datagram(const transport::Ends&, const transport::FrameHeader&, const transport::DtlsWay& by,
                stun::Bytes datagram) override {
    to_client.emplace_back(datagram.begin(), datagram.end());
    left_by = by.port;
  }
  void closed(const transport::Ends& of) override { closed_ends.push_back(of); }

  const wire::DtlsCookies cookies_;

 public:
  StreamCounters counters;
  transport::DtlsServer server;
  transport::Ends ends{{Address::v4(192, 0, 2, 1), 1000}, {Address::v4(192, 0, 2, 2), 5349}, 3};
  transport::DtlsWay way;
  Instant now{1'000'000};
  std::deque<Datagram> to_client;
  std::vector<Datagram> messages;
  std::vector<transport::Ends> senders, closed_ends;
  std::uint16_t left_by = 0;
  int verify_requests = 0;
  bool takes = true;

 private:
  SSL_CTX* const client_context_;
};

inline std::string text_of(const Datagram& datagram) {
  return {datagram.begin(), datagram.end()};
}

}  // namespace turnpike::test
