// A small HTTP server for probes and scrapes: GET and HEAD, one answer for each connection, one
// thread for all of them, none of which can keep it waiting. A probe that comes while hundreds of
// connections are silent is answered at once: when all places are taken, who has been silent
// longest goes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "turnpike/address.h"

namespace turnpike::observe {

class HttpServer {
 public:
  struct Answer {
    int status = 200;  // 200, 404 or 503
    std::string body;
  };
  // Called with the path, without a query, by the server's thread.
  using Handler = std::function<Answer(std::string_view path)>;

  // Serves until it ends. IPv4 or IPv6; [::] means both. Throws std::runtime_error with the
  // kernel's reason where the address can't be had.
  HttpServer(const Endpoint& address, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The one it got, where 0 was asked for.
  std::uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace turnpike::observe
