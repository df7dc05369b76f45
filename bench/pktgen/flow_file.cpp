#include "flow_file.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include "report.h"
#include "templates.h"

namespace turnpike::pktgen {
namespace {

std::string hex(Bytes bytes, const char* separator) {
  std::string text;
  for (const std::uint8_t byte : bytes) {
    std::array<char, 4> digits{};
    (void)std::snprintf(digits.data(), digits.size(), "%02x", byte);
    text += (text.empty() ? "" : separator) + std::string(digits.data());
  }
  return text;
}

Json link_json(const World& world) {
  const Family family = world.plan.client_family(0);
  const Macs& clients = world.client_port.macs(family);
  const Macs& peers = world.peer_port.macs(world.plan.peer_family(0));
  Json json;
  json.add("client_mac", hex(clients.source, ":"))
      .add("server_mac", hex(clients.destination, ":"))
      .add("peer_mac", hex(peers.source, ":"))
      .add("relay_mac", hex(peers.destination, ":"));
  return json;
}

void add_endpoint(Json& json, const std::string& name, const Endpoint& endpoint) {
  json.add(name, endpoint.address.to_string()).add(name + "_port", std::uint64_t{endpoint.port});
}

}  // namespace

void write_flow_file(const World& world, const std::string& path) {
  std::ofstream file(path);
  file << link_json(world).text() << "\n";
  const Templates templates(world.options, world.plan, world.session, world.client_port,
                            world.peer_port, {true, false});
  for (std::uint32_t i = 0; i < templates.size(); ++i) {
    const std::uint8_t* at = templates.at(i);
    const std::uint8_t* payload = at + templates.stride() - kPrefix;
    const std::uint32_t flow = wire::load_be32(payload);
    const std::size_t framing =
        Templates::head_size(at) - headers_size(world.plan.client_family(flow));
    Json json;
    json.add("flow", std::uint64_t{flow});
    add_endpoint(json, "client", world.plan.client(flow));
    add_endpoint(json, "server", world.plan.server(flow));
    add_endpoint(json, "peer", world.plan.peer(flow));
    add_endpoint(json, "relayed", world.session.relayed(flow));
    // What a client sends before a payload of that size: ChannelData's or a Send indication's.
    json.add("payload", std::uint64_t{Templates::payload_size(at)})
        .add("client_header", hex(Bytes(payload - framing, framing), ""));
    file << json.text() << "\n";
  }
  file.close();
  if (!file) throw std::runtime_error("can't write " + path);
}

}  // namespace turnpike::pktgen
