// What is here: which addresses are listened on or relayed from, and which listeners of one
// transport an address has. Found without a walk over all of them. Fixed at the start; a worker's
// own copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "flow/setup.h"
#include "tables/address_map.h"
#include "turnpike/address.h"

namespace turnpike::flow {

class Here {
 public:
  static constexpr std::uint32_t kNotRelayed = 0xFFFF'FFFF;
  static constexpr std::uint32_t kNoListener = 0xFFFF'FFFF;

  struct Port {
    std::uint16_t number = 0;
    ListenerIndex listener = 0;
  };
  // One address, as the wire of this node has it.
  struct Place {
    std::uint32_t relayed = kNotRelayed;  // index into Setup::relayed
    Port first;                           // number 0: not listened on
    std::uint16_t more = 0;               // further ports, in further_
    std::uint16_t more_from = 0;
  };

  explicit Here(const Setup& setup, Transport transport = Transport::kUdp)
      : setup_(setup),
        transport_(transport),
        places_(setup.listeners.size() + setup.relayed.size()) {
    for (std::size_t i = 0; i < setup.relayed.size(); ++i)
      places_[setup.relayed[i].internal].relayed = static_cast<std::uint32_t>(i);
    for (std::size_t i = 0; i < setup.listeners.size(); ++i) {
      const Listener& listener = setup.listeners[i];
      Place& place = places_[listener.endpoint.address];
      if (place.first.number == 0 && listener.transport == transport) add_ports(place, i);
    }
  }

  // nullptr: neither listened on nor relayed from.
  const Place* find(const AddressWords& words, Family family) const {
    return places_.find(words, family);
  }
  const Place* find(const Address& address) const { return places_.find(address); }

  // The listener of the place's port, or kNoListener. Most addresses have one or none.
  std::uint32_t listener(const Place& place, std::uint16_t port) const {
    if (place.first.number == port && port != 0) return place.first.listener;
    for (std::size_t i = 0; i < place.more; ++i) {
      const Port& one = further_[place.more_from + i];
      if (one.number == port) return one.listener;
    }
    return kNoListener;
  }

  std::optional<ListenerIndex> listener_at(const Endpoint& endpoint) const {
    const Place* place = find(endpoint.address);
    const std::uint32_t found = place != nullptr ? listener(*place, endpoint.port) : kNoListener;
    if (found == kNoListener) return std::nullopt;
    return static_cast<ListenerIndex>(found);
  }
  bool is_relayed(const Address& address) const {
    const Place* place = find(address);
    return place != nullptr && place->relayed != kNotRelayed;
  }
  // The address by which peers know a relayed one; any other is its own.
  Address public_of(const Address& address) const {
    const Place* place = find(address);
    if (place == nullptr || place->relayed == kNotRelayed) return address;
    return setup_.relayed[place->relayed].public_address();
  }

 private:
  // All of the address for the transport, of which listener `from` is the first.
  void add_ports(Place& place, std::size_t from) {
    const Endpoint& first = setup_.listeners[from].endpoint;
    place.first = {first.port, static_cast<ListenerIndex>(from)};
    place.more_from = static_cast<std::uint16_t>(further_.size());
    for (std::size_t i = from + 1; i < setup_.listeners.size(); ++i) {
      const Listener& listener = setup_.listeners[i];
      if (listener.endpoint.address != first.address || listener.transport != transport_) continue;
      further_.push_back({listener.endpoint.port, static_cast<ListenerIndex>(i)});
      ++place.more;
    }
  }

  const Setup& setup_;
  const Transport transport_;
  AddressMap<Place> places_;
  std::vector<Port> further_;
};

}  // namespace turnpike::flow
