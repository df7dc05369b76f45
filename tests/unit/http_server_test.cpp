// Probes are answered, whatever else is connected.
#include "observe/http_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

namespace turnpike::observe {
namespace {

// A client that waits for at most 30 seconds, much longer than any answer takes.
class Client {
 public:
  explicit Client(std::uint16_t port, bool ipv6 = false)
      : fd_(socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{30, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    in6.sin6_addr = in6addr_loopback;
    connected_ =
        connect(fd_, ipv6 ? reinterpret_cast<sockaddr*>(&in6) : reinterpret_cast<sockaddr*>(&in),
                ipv6 ? sizeof in6 : sizeof in) == 0;
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;

  bool connected() const { return connected_; }
  void say(std::string_view text) { (void)send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // All until the server closes.
  std::string hear() {
    std::string all;
    char part[4096];
    for (ssize_t n = 0; (n = recv(fd_, part, sizeof part, 0)) > 0;)
      all.append(part, static_cast<std::size_t>(n));
    return all;
  }
  std::string ask(std::string_view text) {
    say(text);
    return hear();
  }

 private:
  int fd_;
  bool connected_ = false;
};

HttpServer::Answer answer(std::string_view path) {
  if (path == "/readyz") return {503, "stalled\n"};
  if (path == "/large") return {200, std::string(5'000'000, 'x')};
  return path == "/healthz" ? HttpServer::Answer{200, "alive\n"} : HttpServer::Answer{404, "no\n"};
}

class Http : public testing::Test {
 protected:
  HttpServer server{{Address::v4(127, 0, 0, 1), 0}, answer};
  std::uint16_t port = server.port();
};

TEST_F(Http, AnswersAGet) {
  const std::string heard = Client(port).ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 200 OK\r\n")) << heard;
  EXPECT_NE(heard.find("\r\nContent-Length: 6\r\n"), std::string::npos);
  EXPECT_TRUE(heard.ends_with("\r\n\r\nalive\n"));
}

TEST_F(Http, GivesTheHandlersStatus) {
  EXPECT_TRUE(Client(port).ask("GET /readyz HTTP/1.0\n\n").starts_with("HTTP/1.1 503 "));
  EXPECT_TRUE(Client(port).ask("GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
}

TEST_F(Http, LeavesTheQueryOut) {
  EXPECT_TRUE(Client(port).ask("GET /healthz?a=b HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(Http, AnswersAHeadWithoutABody) {
  const std::string heard = Client(port).ask("HEAD /healthz HTTP/1.1\r\n\r\n");
  EXPECT_NE(heard.find("Content-Length: 6\r\n"), std::string::npos);
  EXPECT_TRUE(heard.ends_with("\r\n\r\n"));
}

TEST_F(Http, RefusesWhatIsNoGet) {
  EXPECT_TRUE(Client(port).ask("POST /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
  for (const char* bad : {"\r\n\r\n", "GET\r\n\r\n", "GET /healthz\r\n\r\n",
                          "GET /healthz FTP/1\n\n", " \n\n", "\n\n", "\x16\x03\x01\n\n"})
    EXPECT_TRUE(Client(port).ask(bad).starts_with("HTTP/1.1 400 ")) << bad;
}

TEST_F(Http, TakesARequestInPieces) {
  Client client(port);
  for (const char one : std::string("GET /healthz HTTP/1.1\r\n\r"))
    client.say({&one, 1});
  EXPECT_TRUE(client.ask("\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(Http, RefusesAHeadWithoutEnd) {
  Client client(port);
  EXPECT_TRUE(client.ask("GET /" + std::string(10'000, 'a')).starts_with("HTTP/1.1 431 "));
}

TEST_F(Http, WritesALargeAnswerToASlowReader) {
  Client slow(port);
  slow.say("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(Client(port).ask("GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
  EXPECT_GT(slow.hear().size(), 5'000'000u);
}

TEST_F(Http, AnswersBesideManyThatAreSilent) {
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 300; ++i) {
    silent.push_back(std::make_unique<Client>(port));
    if (i % 3 == 0) silent.back()->say("GET /heal");
  }
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(Client(port).ask("GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST(HttpServer, ServesIpv6AndWithTheUnspecifiedAddressBoth) {
  const std::optional<Endpoint> any = Endpoint::parse("[::]:0");
  ASSERT_TRUE(any.has_value());
  std::unique_ptr<HttpServer> server;
  try {
    server = std::make_unique<HttpServer>(*any, answer);
  } catch (const std::runtime_error& error) {
    GTEST_SKIP() << "this kernel has no IPv6: " << error.what();
  }
  for (const bool ipv6 : {true, false}) {
    Client client(server->port(), ipv6);
    if (ipv6 && !client.connected()) continue;  // no ::1 in this namespace
    EXPECT_TRUE(client.ask("GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
  }
}

TEST(HttpServer, SaysWhyItCannotListen) {
  const HttpServer first({Address::v4(127, 0, 0, 1), 0}, answer);
  try {
    const HttpServer second({Address::v4(127, 0, 0, 1), first.port()}, answer);
    FAIL() << "the port is taken";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("Address already in use"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace turnpike::observe
