// The lines for generators that can't set up TURN, printed flat, so that any script can read
// them.
#include "flow_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <vector>

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

// All that stands before the payload, with the checksums that go with a payload of zeros.
std::string frame_head(const Templates& templates, std::uint32_t index) {
  const std::uint8_t* at = templates.at(index);
  const std::size_t head = Templates::head_size(at);
  std::vector<std::uint8_t> frame(Templates::frame_size(at));
  std::copy_n(at + templates.stride() - kPrefix - head, head, frame.begin());
  const Family family = Templates::family(frame.data());
  set_udp_checksum(frame.data(), family, frame.size() - headers_size(family));
  return hex(Bytes(frame).first(head), "");
}

}  // namespace

void write_flow_file(const World& world, const std::string& path) {
  std::ofstream file(path);
  file << link_json(world).text() << "\n";
  const Templates templates(world.options, world.plan, world.session, world.client_port,
                            world.peer_port, {true, true});
  for (std::uint32_t i = 0; i + 1 < templates.size(); i += 2) {
    const std::uint8_t* up = templates.at(i);
    const std::uint32_t flow = wire::load_be32(up + templates.stride() - kPrefix);
    Json json;
    json.add("flow", std::uint64_t{flow});
    add_endpoint(json, "client", world.plan.client(flow));
    add_endpoint(json, "server", world.plan.server(flow));
    add_endpoint(json, "peer", world.plan.peer(flow));
    add_endpoint(json, "relayed", world.session.relayed(flow));
    // A Send indication's payload is padded: so a frame is as long as `…_size` says, not the sum.
    json.add("client_head", frame_head(templates, i))
        .add("client_size", std::uint64_t{Templates::frame_size(up)})
        .add("peer_head", frame_head(templates, i + 1))
        .add("peer_size", std::uint64_t{Templates::frame_size(templates.at(i + 1))});
    file << json.text() << "\n";
  }
  file.close();
  if (!file) throw std::runtime_error("can't write " + path);
}

}  // namespace turnpike::pktgen
