// Bytes from the network are hostile here too: a request is looked at when its head is complete, a
// head has a limit, and a connection a deadline. What comes behind the head is not read.
#include "observe/http_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <stdexcept>
#include <thread>
#include <vector>

namespace turnpike::observe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostConnections = 128;
constexpr std::size_t kMostHead = 8192;
constexpr auto kMostTime = std::chrono::seconds(10);  // for all of a connection
constexpr int kBacklog = 256;
constexpr auto kPause = std::chrono::milliseconds(50);  // when there are no descriptors

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

const char* phrase_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

std::string response(const HttpServer::Answer& answer, bool with_body) {
  std::string text =
      "HTTP/1.1 " + std::to_string(answer.status) + " " + phrase_of(answer.status) + "\r\n";
  if (answer.status == 405) text += "Allow: GET, HEAD\r\n";
  text += "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: " +
          std::to_string(answer.body.size()) + "\r\nConnection: close\r\n\r\n";
  if (with_body) text += answer.body;
  return text;
}

// The answer to a request's first line (RFC 9112 §3): method, target, version.
std::string respond(std::string_view line, const HttpServer::Handler& handler) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last ||
      !line.substr(last + 1).starts_with("HTTP/1."))
    return response({400, "expected GET, a path and HTTP/1.1\n"}, true);
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (method != "GET" && method != "HEAD") return response({405, "GET and HEAD only\n"}, true);
  target = target.substr(0, target.find('?'));
  return response(handler(target), method == "GET");
}

class Connection {
 public:
  Connection(int fd, Clock::time_point now) : fd_(fd), ends_(now + kMostTime) {}

  int fd() const { return fd_.get(); }
  Clock::time_point ends() const { return ends_; }
  short waits_for() const { return out_.empty() ? POLLIN : POLLOUT; }
  bool is_silent() const { return out_.empty(); }

  // Goes on as far as it can; false when it is over.
  bool go_on(const HttpServer::Handler& handler) {
    if (out_.empty() && !read_head(handler)) return false;
    return out_.empty() || write_answer();
  }

 private:
  bool read_head(const HttpServer::Handler& handler) {
    std::array<char, 2048> part;
    const ssize_t n = recv(fd(), part.data(), part.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    in_.append(part.data(), static_cast<std::size_t>(n));
    // A bare line feed may end a line (RFC 9112 §2.2).
    if (in_.find("\r\n\r\n") != std::string::npos || in_.find("\n\n") != std::string::npos) {
      std::string_view line = std::string_view(in_).substr(0, in_.find('\n'));
      if (line.ends_with('\r')) line.remove_suffix(1);
      out_ = respond(line, handler);
    } else if (in_.size() > kMostHead) {
      out_ = response({431, "the request is too long\n"}, true);
    }
    return true;
  }

  bool write_answer() {
    while (written_ < out_.size()) {
      const ssize_t n = send(fd(), out_.data() + written_, out_.size() - written_, MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      written_ += static_cast<std::size_t>(n);
    }
    shutdown(fd(), SHUT_WR);
    return false;
  }

  Descriptor fd_;
  Clock::time_point ends_;
  std::string in_, out_;
  std::size_t written_ = 0;
};

int listen_at(const Endpoint& at) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const bool ipv6 = at.address.family == Family::kIpv6;
  if (ipv6) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(at.port);
    std::memcpy(&in.sin6_addr, at.address.bytes.data(), sizeof in.sin6_addr);
    std::memcpy(&storage, &in, size = sizeof in);
  } else {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(at.port);
    std::memcpy(&in.sin_addr, at.address.bytes.data(), sizeof in.sin_addr);
    std::memcpy(&storage, &in, size = sizeof in);
  }
  const int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1, off = 0;
  const bool listens =
      fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      (!ipv6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) &&
      bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0 && listen(fd, kBacklog) == 0;
  if (listens) return fd;
  const int error = errno;
  if (fd >= 0) close(fd);
  throw std::runtime_error("cannot listen on " + at.to_string() + ": " + std::strerror(error));
}

}  // namespace

struct HttpServer::Impl {
  Impl(const Endpoint& address, Handler asked)
      : handler(std::move(asked)),
        listener(listen_at(address)),
        stop(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (stop.get() < 0) throw std::runtime_error(std::string("eventfd: ") + std::strerror(errno));
    thread = std::thread([this] { serve(); });
    pthread_setname_np(thread.native_handle(), "metrics");
  }
  ~Impl() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(stop.get(), &one, sizeof one);
    thread.join();
  }

  void serve();
  int milliseconds_left() const;
  void accept_all();
  void make_room();

  Handler handler;
  Descriptor listener;
  Descriptor stop;
  std::list<Connection> connections;  // oldest first
  std::thread thread;
};

void HttpServer::Impl::serve() {
  std::vector<pollfd> waits;
  for (;;) {
    waits.assign({{stop.get(), POLLIN, 0}, {listener.get(), POLLIN, 0}});
    for (const Connection& one : connections)
      waits.push_back({one.fd(), one.waits_for(), 0});
    if (poll(waits.data(), waits.size(), milliseconds_left()) < 0) continue;
    if (waits[0].revents != 0) return;
    const Clock::time_point now = Clock::now();
    auto wait = waits.begin() + 2;
    for (auto one = connections.begin(); one != connections.end(); ++wait) {
      const bool lives = (wait->revents == 0 || one->go_on(handler)) && now < one->ends();
      one = lives ? std::next(one) : connections.erase(one);
    }
    if (waits[1].revents != 0) accept_all();
  }
}

// Until the first connection's deadline; they have all the same time, so it is the oldest's.
int HttpServer::Impl::milliseconds_left() const {
  if (connections.empty()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(connections.front().ends() - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

// A new connection has mostly said what it wants already, and is answered before the next is taken.
void HttpServer::Impl::accept_all() {
  for (std::size_t i = 0; i < kMostConnections; ++i) {
    const int fd = accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      make_room();  // no descriptors, or no memory
      std::this_thread::sleep_for(kPause);
      return;
    }
    if (connections.size() == kMostConnections) make_room();
    connections.emplace_back(fd, Clock::now());
    if (!connections.back().go_on(handler)) connections.pop_back();
  }
}

// The oldest goes; one that is being answered only if nobody else is there.
void HttpServer::Impl::make_room() {
  auto one = std::find_if(connections.begin(), connections.end(),
                          [](const Connection& each) { return each.is_silent(); });
  if (one == connections.end()) one = connections.begin();
  if (one != connections.end()) connections.erase(one);
}

HttpServer::HttpServer(const Endpoint& address, Handler handler)
    : impl_(std::make_unique<Impl>(address, std::move(handler))) {}

HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(impl_->listener.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  // Both families have it at the same place.
  sockaddr_in in{};
  std::memcpy(&in, &storage, sizeof in);
  return ntohs(in.sin_port);
}

}  // namespace turnpike::observe
