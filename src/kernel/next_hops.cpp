// Messages of the kernel go into the mirror; next hops of those destinations that someone asked
// for follow it.
#include "kernel/next_hops.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "kernel/dialogue.h"
#include "kernel/hop_table.h"
#include "kernel/link_stack.h"
#include "kernel/route_messages.h"
#include "kernel/routes.h"
#include "kernel/solicitations.h"
#include "log/log.h"
#include "tables/arrivals.h"

namespace turnpike::kernel {
namespace {

using flow::MacWord;
using flow::NextHop;
using flow::NextHopIndex;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kHopsPerPoll = 1024;
constexpr auto kStartPatience = std::chrono::seconds(30);
constexpr auto kRoomAgainPause = std::chrono::seconds(1);

// What the kernel has.
struct Mirror {
  LinkStack links;
  RouteTables routes;
  std::map<std::pair<std::uint32_t, Address>, MacWord> macs;  // by interface
  std::vector<std::uint32_t> ends;  // the ports' interfaces, by port; 0: none, or not there
};

}  // namespace

struct NextHops::Impl final : KernelDialogue::Listener {
  Impl(std::vector<Port> given, std::uint32_t max, Qsbr& qsbr, const ClientSpread& of_clients)
      : ports(std::move(given)),
        spread(of_clients),
        hops(max, qsbr),
        arrivals(ports.size()),
        solicitations(max),
        dialogue(*this) {
    for (std::size_t port = 0; port < ports.size(); ++port) {
      names.push_back(ports[port].interface);
      if (ports[port].interface.empty())
        arrivals[port].take_any_mac();
      else
        arrivals[port].mac.store(flow::mac_word(ports[port].mac), std::memory_order_relaxed);
      if (!ports[port].interface.empty())
        arrivals[port].tags = std::make_unique<flow::KnownTags>(ports[port].keeps_tag_types);
    }
    mirror.ends.resize(ports.size());
  }

  void begins() override { fresh = std::make_unique<Mirror>(); }
  void tells(const nlmsghdr* message) override;
  void has_told_all() override;
  void changes(const nlmsghdr* message) override;

  bool take_link(Mirror& into, const nlmsghdr* message);
  bool take_route(Mirror& into, const nlmsghdr* message);
  bool take_rule(Mirror& into, const nlmsghdr* message);
  void take_neighbour(Mirror& into, const nlmsghdr* message);
  void take_address(const nlmsghdr* message);
  void find_ends(Mirror& in) const;
  void tell_arrivals();
  void say_what_is_strange();
  void say_once(const std::string& line);
  void say_what_waits();

  void wait_for_all();
  void tend();
  HopTable::Key through(std::size_t port, const LinkStack::Way& way) const;
  MacWord mac_of(const HopTable::Key& key) const;
  NextHopIndex resolve(const flow::Journey& journey);
  NextHopIndex by_messages_of(Transport transport, const Endpoint& client);
  flow::Reach reach(const flow::Journey& journey) const;
  void change() { epoch.fetch_add(1, std::memory_order_release); }

  const std::vector<Port> ports;
  const ClientSpread spread;
  std::vector<std::string> names;  // of the ports' interfaces
  flow::HostDoor* door = nullptr;  // none: nothing goes to this host itself

  mutable std::mutex mutex;  // guards these two; shards resolve while control updates
  Mirror mirror;
  HopTable hops;

  std::vector<flow::Arrivals> arrivals;  // by port
  std::atomic<std::uint32_t> epoch{1};
  // Control's own:
  Solicitations solicitations;
  std::unique_ptr<Mirror> fresh;  // while all is told anew
  bool known = false;             // all has been told once
  bool room_again = false;        // for those who were refused
  Clock::time_point said_room;
  std::set<std::string> said;
  std::vector<std::string> to_say;
  KernelDialogue dialogue;
};

// --- From the kernel ---

bool NextHops::Impl::take_link(Mirror& into, const nlmsghdr* message) {
  if (!into.links.take(message, names)) return false;
  find_ends(into);
  if (&into == &mirror) tell_arrivals();
  return true;
}

bool NextHops::Impl::take_route(Mirror& into, const nlmsghdr* message) {
  const auto change = read_route(message);
  if (!change) return false;
  bool doubtful = false;
  const bool changed = into.routes.take(*change, doubtful);
  if (doubtful) dialogue.doubt();
  return changed;
}

bool NextHops::Impl::take_rule(Mirror& into, const nlmsghdr* message) {
  const auto read = read_rule(message);
  if (!read) return false;
  if (message->nlmsg_type == RTM_DELRULE) return into.routes.remove(read->family, read->rule);
  if (!read->not_honoured.empty()) {
    say_once("ip rule " + std::to_string(read->rule.priority) + " asks for " + read->not_honoured +
             ", which the relay's packets don't have: it is taken as one that doesn't match");
  }
  return into.routes.add(read->family, read->rule);
}

void NextHops::Impl::take_neighbour(Mirror& into, const nlmsghdr* message) {
  const auto read = read_neighbour(message);
  if (!read) return;
  if (read->mac == 0) {
    into.macs.erase({read->interface, read->address});
  } else {
    into.macs[{read->interface, read->address}] = read->mac;
  }
  if (&into != &mirror) return;
  hops.for_each_at(read->interface, read->address, [&](NextHop& hop, const HopTable::Key&) {
    hop.mac.store(read->mac, std::memory_order_relaxed);
  });
}

// The kernel takes IPv4 routes of an address that goes without a word about each.
void NextHops::Impl::take_address(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ifaddrmsg)) return;
  const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  if (mirror.links.way_down(header->ifa_index, mirror.ends, 0)) dialogue.doubt();
}

void NextHops::Impl::find_ends(Mirror& in) const {
  in.ends.clear();
  for (const std::string& name : names)
    in.ends.push_back(in.links.index_of(name));
  in.routes.set_device_tables(in.links.vrf_tables());
  in.routes.set_ways(in.links.with_way_down(in.ends));
}

// An interface that has gone leaves what was known of it.
void NextHops::Impl::tell_arrivals() {
  for (std::size_t port = 0; port < arrivals.size(); ++port) {
    const LinkStack::Link* link = mirror.links.find(mirror.ends[port]);
    if (link == nullptr) continue;
    if (link->mac) arrivals[port].mac.store(flow::mac_word(*link->mac), std::memory_order_relaxed);
    if (arrivals[port].tags) arrivals[port].tags->replace(mirror.links.tags_on(mirror.ends[port]));
    const auto others = mirror.links.macs_on(mirror.ends[port]);
    for (std::size_t i = 0; i < flow::Arrivals::kOthers; ++i) {
      arrivals[port].other_macs[i].store(i < others.size() ? flow::mac_word(others[i]) : 0,
                                         std::memory_order_relaxed);
    }
    if (others.size() > flow::Arrivals::kOthers)
      say_once("interface " + link->name + " has more than " +
               std::to_string(flow::Arrivals::kOthers) +
               " macvlans: what is sent to the MACs of the rest is not relayed");
  }
}

void NextHops::Impl::tells(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
      fresh->links.take(message, {});
      break;
    case RTM_NEWRULE:
      take_rule(*fresh, message);
      break;
    case RTM_NEWROUTE:
      take_route(*fresh, message);
      break;
    case RTM_NEWNEIGH:
      take_neighbour(*fresh, message);
      break;
    default:
      break;
  }
}

void NextHops::Impl::changes(const nlmsghdr* message) {
  const std::scoped_lock lock(mutex);
  // What is told anew lacks what happens after it was written: so both are changed.
  for (Mirror* into : {fresh.get(), &mirror}) {
    if (into == nullptr) continue;
    bool changed = false;
    switch (message->nlmsg_type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        changed = take_link(*into, message);
        // The kernel takes the IPv4 routes of a link that goes down without a word about each.
        if (changed && into == &mirror) dialogue.doubt();
        break;
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        changed = take_route(*into, message);
        break;
      case RTM_NEWRULE:
      case RTM_DELRULE:
        changed = take_rule(*into, message);
        break;
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH:
        take_neighbour(*into, message);
        break;
      case RTM_DELADDR:
        if (into == &mirror) take_address(message);
        break;
      default:
        break;
    }
    if (changed && into == &mirror) change();
  }
}

void NextHops::Impl::has_told_all() {
  find_ends(*fresh);
  {
    const std::scoped_lock lock(mutex);
    std::swap(mirror, *fresh);
    tell_arrivals();
    hops.for_each([&](NextHop& hop, const HopTable::Key& key) {
      hop.mac.store(mac_of(key), std::memory_order_relaxed);
    });
    change();
  }
  fresh.reset();
  known = true;
  say_what_is_strange();
}

// Later: who calls it may hold the mutex, for which shards and workers' wishes wait.
void NextHops::Impl::say_once(const std::string& line) {
  if (said.insert(line).second) to_say.push_back(line);
}

void NextHops::Impl::say_what_waits() {
  for (const std::string& line : to_say)
    log::warning(line);
  to_say.clear();
}

// Where the kernel has put a port into something that the relay doesn't send through.
void NextHops::Impl::say_what_is_strange() {
  for (const std::uint32_t end : mirror.ends) {
    const LinkStack::Link* link = mirror.links.find(end);
    const LinkStack::Link* master = link == nullptr ? nullptr : mirror.links.find(link->master);
    if (master == nullptr || master->kind == LinkStack::Link::Kind::kBond ||
        master->kind == LinkStack::Link::Kind::kVrf)
      continue;
    say_once("interface " + link->name + " is a port of " + master->name +
             ": routes through that lead to no port of the relay");
  }
}

// At the start: until all is known.
void NextHops::Impl::wait_for_all() {
  const Clock::time_point begin = Clock::now();
  bool told = false;
  while (!known) {
    const Clock::time_point now = Clock::now();
    dialogue.poll(now);
    say_what_waits();
    if (known) return;
    if (now - begin > kStartPatience) {
      throw std::runtime_error("netlink: the kernel has not told its routes and neighbours" +
                               (dialogue.failure().empty() ? "" : ": " + dialogue.failure()));
    }
    if (now - begin > std::chrono::seconds(1) && !std::exchange(told, true))
      log::info("reading the kernel's routes and neighbours");
    pollfd wait{dialogue.fd(), POLLIN, 0};
    ::poll(&wait, 1, 10);
  }
}

// --- Next hops ---

MacWord NextHops::Impl::mac_of(const HopTable::Key& key) const {
  if (const auto& fixed = ports[key.port].static_next_hop) {
    MacWord mac = flow::kMacResolved;
    for (std::size_t i = 0; i < fixed->size(); ++i)
      mac |= MacWord{(*fixed)[i]} << 8 * i;
    return mac;
  }
  const auto found = mirror.macs.find({key.interface, key.gateway});
  return found == mirror.macs.end() ? 0 : found->second;
}

// All of a key but for the neighbour.
HopTable::Key NextHops::Impl::through(std::size_t port, const LinkStack::Way& way) const {
  HopTable::Key key;
  key.port = static_cast<std::uint16_t>(port);
  key.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(ports[port].mtu, way.mtu));
  key.tags = way.tags.bytes;
  key.tag_bytes = way.tags.size;
  return key;
}

NextHopIndex NextHops::Impl::resolve(const flow::Journey& journey) {
  if (journey.destination.is_multicast()) return flow::kNoNextHop;
  const auto acquire = [&](const HopTable::Key& key) {
    return hops.acquire(key, journey.allocation, [&] { return mac_of(key); });
  };
  const RouteTarget* target = mirror.routes.find(journey.source, journey.destination);
  if (target != nullptr && target->kind == RouteTarget::Kind::kForbids) return flow::kNoNextHop;
  if (target != nullptr && target->kind == RouteTarget::Kind::kLeads) {
    const auto way =
        mirror.links.way_down(target->interface, mirror.ends, spread_of(journey.destination));
    if (way) {
      const auto end = std::find(mirror.ends.begin(), mirror.ends.end(), way->interface);
      const auto port = static_cast<std::size_t>(end - mirror.ends.begin());
      HopTable::Key key = through(port, *way);
      if (target->mtu != 0)
        key.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(key.mtu, target->mtu));
      if (!ports[port].static_next_hop) {
        key.interface = target->interface;
        key.gateway = target->gateway.value_or(journey.destination);
        key.on_link = !target->gateway;
      }
      return acquire(key);
    }
  }
  if (reach(journey) == flow::Reach::kHost)
    return by_messages_of(Transport::kUdp, {journey.destination, 0});
  // A port that needs no routes: everything goes to one MAC.
  for (std::size_t port = 0; port < ports.size(); ++port) {
    if (ports[port].static_next_hop && !ports[port].messages_of) return acquire(through(port, {}));
  }
  return flow::kNoNextHop;
}

flow::Reach NextHops::Impl::reach(const flow::Journey& journey) const {
  using flow::Reach;
  // Everything has a way through a port that needs no routes.
  for (const Port& port : ports) {
    if (port.static_next_hop && !port.messages_of) return Reach::kPort;
  }
  const auto [target, length] = mirror.routes.find_with_length(journey.source, journey.destination);
  if (target == nullptr || target->kind == RouteTarget::Kind::kForbids) return Reach::kNowhere;
  const Reach elsewhere = door != nullptr ? Reach::kHost : Reach::kElsewhere;
  if (target->kind != RouteTarget::Kind::kLeads) return elsewhere;
  // The kernel takes a link's IPv4 routes with it, and tells only of the link.
  if (mirror.links.find(target->interface) == nullptr) return Reach::kNowhere;
  const auto way =
      mirror.links.way_down(target->interface, mirror.ends, spread_of(journey.destination));
  if (way) return target->gateway ? Reach::kPort : Reach::kOnLink;
  // A default route by a NIC for management says nothing of where the destination is.
  return length == 0 ? Reach::kNowhere : elsewhere;
}

// Of several, the one whose thread has the client.
NextHopIndex NextHops::Impl::by_messages_of(Transport transport, const Endpoint& client) {
  const auto has = [transport](const Port& port) { return port.messages_of == transport; };
  const auto count = static_cast<std::size_t>(std::count_if(ports.begin(), ports.end(), has));
  if (count == 0) return flow::kNoNextHop;
  auto port = std::find_if(ports.begin(), ports.end(), has);
  for (std::size_t left = spread.thread_of(client, count); left > 0; --left)
    port = std::find_if(port + 1, ports.end(), has);
  const HopTable::Key key = through(static_cast<std::size_t>(port - ports.begin()), {});
  return hops.acquire(key, 0, [&] { return mac_of(key); });
}

void NextHops::Impl::tend() {
  const Clock::time_point now = Clock::now();
  const std::vector<Solicitations::Question>* questions = nullptr;
  {
    const std::scoped_lock lock(mutex);
    room_again |= hops.sweep(kHopsPerPoll);
    questions = &solicitations.tend(hops, now, kHopsPerPoll);
  }
  // Those who were refused for want of room are told, by the way in which they are told of routes.
  if (room_again && now - said_room >= kRoomAgainPause) {
    room_again = false;
    said_room = now;
    change();
  }
  for (const Solicitations::Question& question : *questions) {
    if (question.kind == Solicitations::Question::Kind::kLook) {
      dialogue.look_for(question.interface, question.address);
    } else {
      dialogue.forget(question.interface, question.address);
    }
  }
}

// --- The interface ---

NextHops::NextHops(std::vector<Port> ports, std::uint32_t max_next_hops, Qsbr& qsbr,
                   const ClientSpread& spread)
    : impl_(std::make_unique<Impl>(std::move(ports), max_next_hops, qsbr, spread)) {
  impl_->wait_for_all();
}

NextHops::~NextHops() = default;

NextHopIndex NextHops::resolve(const flow::Journey& journey) {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->resolve(journey);
}

NextHopIndex NextHops::resolve_stream(const FiveTuple& client) {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->by_messages_of(client.transport, client.client);
}

flow::Reach NextHops::reach(const flow::Journey& journey) const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->reach(journey);
}

void NextHops::set_host_door(flow::HostDoor& door) {
  impl_->door = &door;
}

// Its place in the table is the caller's while he holds it, so that it says the same as when it was
// made.
flow::HostDoor* NextHops::host_door(NextHopIndex hop) {
  if (impl_->door == nullptr || hop == flow::kNoNextHop) return nullptr;
  const NextHop& way = impl_->hops.data()[static_cast<std::uint32_t>(hop)];
  return impl_->ports[way.port].messages_of == Transport::kUdp ? impl_->door : nullptr;
}

void NextHops::release(NextHopIndex hop) {
  impl_->hops.release(hop);
}

std::uint32_t NextHops::epoch() const {
  return impl_->epoch.load(std::memory_order_acquire);
}

NextHop* NextHops::table() {
  return impl_->hops.data();
}

const flow::Arrivals* NextHops::arrivals() const {
  return impl_->arrivals.data();
}

int NextHops::fd() const {
  return impl_->dialogue.fd();
}

void NextHops::poll() {
  impl_->dialogue.poll(Clock::now());
  impl_->say_what_waits();
  impl_->tend();
}

bool NextHops::has_vlans(std::size_t port) const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->mirror.links.has_vlans_on(impl_->mirror.ends[port]);
}

std::uint32_t NextHops::interface_index(std::size_t port) const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->mirror.ends[port];
}

std::uint32_t NextHops::in_use() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->hops.in_use();
}

std::uint32_t NextHops::capacity() const {
  return impl_->hops.capacity();
}

}  // namespace turnpike::kernel
