// Sockets tell of what is new (EPOLLET), so each is read until it has no more.
#include "loop.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "stop.h"
#include "wire/headers.h"
#include "wire/stream_framing.h"

namespace turnpike::streams {
namespace {

using stun::Attribute;
using stun::Class;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kPatience = 20 * kSecond;   // with a client that is on its way
constexpr std::uint64_t kAgainAfter = kSecond / 2;  // by DTLS, and then twice as long each time
constexpr std::uint8_t kMostSends = 7;
// Who waits for a restart has nothing else to notice it by.
constexpr std::uint8_t kMostSendsOfWaiting = 2;
constexpr std::uint8_t kMostRefusals = 4;
constexpr std::uint64_t kLookEvery = kSecond / 100;
constexpr std::size_t kRead = 1 << 18, kMostMessage = 1 << 16;
constexpr std::uint32_t kPeers = ~std::uint32_t{0};  // among what epoll tells of
constexpr std::uint32_t kFarEnds = kPeers - 1;
constexpr std::uint8_t kUdp = 17, kFamilyIpv6 = 2;
constexpr unsigned kDatagrams = 64;
constexpr std::size_t kMostDatagram = 2048;

Method method_of(Step step) {
  switch (step) {
    case Step::kBinding:
      return Method::kBinding;
    case Step::kBind:
    case Step::kRebind:
      return Method::kChannelBind;
    case Step::kRefresh:
      return Method::kRefresh;
    default:
      return Method::kAllocate;
  }
}

bool is_asking(Step step) {
  return step >= Step::kBinding && step <= Step::kRebind && step != Step::kReady;
}

}  // namespace

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

void Counts::add(const Counts& other) {
  begun += other.begun;
  handshakes += other.handshakes;
  resumed += other.resumed;
  served += other.served;
  failed += other.failed;
  cut += other.cut;
  for (const auto& [code, count] : other.errors)
    errors[code] += count;
  handshake_ns.add(other.handshake_ns);
  served_ns.add(other.served_ns);
  slept_ns += other.slept_ns;
}

Loop::Loop(const Options& options, unsigned number, std::uint32_t clients)
    : options_(options),
      number_(number),
      sessions_(options),
      clients_(clients),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      salt_(static_cast<std::uint32_t>(now_ns() >> 8) + number),
      room_(kRead + kMostMessage) {
  if (epoll_ < 0) throw std::runtime_error(std::string("epoll: ") + std::strerror(errno));
  if (options_.peers) open_peers_socket(open_peers(*options_.peers));
  if (options_.raw) {
    far_ends_ = std::make_unique<FarEnds>(*options_.raw);
    epoll_event event{.events = EPOLLIN, .data = {.u32 = kFarEnds}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, far_ends_->fd(), &event);
  }
}

Loop::~Loop() {
  if (peers_ >= 0) ::close(peers_);
  ::close(epoll_);
}

void Loop::open_peers_socket(int fd) {
  peers_ = fd;
  peer_ = local_of(fd);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u32 = kPeers}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

stun::TransactionId Loop::transaction_id(std::uint32_t number) const {
  stun::TransactionId id{};
  wire::store_be32(id.data(), salt_);
  wire::store_be32(id.data() + 4, number);
  id[8] = clients_[number].serial;
  return id;
}

void Loop::enter(Client& client, Step step) {
  const auto is_on_its_way = [](Step which) { return which != Step::kIdle && !is_ready(which); };
  on_their_way_ -= is_on_its_way(client.step);
  ready_ -= is_ready(client.step);
  client.step = step;
  on_their_way_ += is_on_its_way(client.step);
  ready_ += is_ready(client.step);
}

void Loop::start(std::uint32_t number) {
  Client& client = clients_[number];
  ++counts_.begun;
  client.began_ns = now_ns();
  client.refusals = 0;
  client.rest.clear();
  client.unsent.clear();
  const auto& from = options_.from;
  const std::size_t which = number * std::size_t{options_.threads} + number_;
  enter(client, Step::kHandshake);
  if (client.link.open(options_, sessions_, from.empty() ? nullptr : &from[which % from.size()]) ==
      Link::Result::kOver)
    return lose(number);
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.u32 = number}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, client.link.fd(), &event);
}

void Loop::stop(std::uint32_t number, bool politely) {
  Client& client = clients_[number];
  client.link.close(politely);
  enter(client, Step::kIdle);
}

void Loop::lose(std::uint32_t number) {
  Client& client = clients_[number];
  const bool was_ready = is_ready(client.step);
  ++(was_ready ? counts_.cut : counts_.failed);
  stop(number, false);
  if (watcher_ != nullptr) watcher_->see_lost(number, was_ready);
}

void Loop::set_up() {
  Watcher nobody;
  std::uint32_t next = 0;
  while ((next < clients_.size() || on_their_way_ > 0) && !pktgen::stop_requested()) {
    while (next < clients_.size() && on_their_way_ < options_.window)
      start(next++);
    poll(kLookEvery, nobody);
  }
}

void Loop::poll(std::uint64_t most_ns, Watcher& watcher) {
  watcher_ = &watcher;
  std::array<epoll_event, 256> events;
  const timespec most{static_cast<time_t>(most_ns / kSecond), static_cast<long>(most_ns % kSecond)};
  const std::uint64_t before = most_ns > 0 ? now_ns() : 0;
  const int count = epoll_pwait2(epoll_, events.data(), events.size(), &most, nullptr);
  if (most_ns > 0) counts_.slept_ns += now_ns() - before;
  for (int i = 0; i < count; ++i) {
    const std::uint32_t number = events[static_cast<std::size_t>(i)].data.u32;
    if (number == kPeers)
      read_peers();
    else if (number == kFarEnds)
      serve_far_ends();
    else
      handle(number);
  }
  if (const std::uint64_t now = now_ns(); now - looked_ns_ >= kLookEvery) look_at_time(now);
  watcher_ = nullptr;
}

void Loop::sleep_until(std::uint64_t when_ns) {
  const std::uint64_t before = now_ns();
  if (before >= when_ns) return;
  std::this_thread::sleep_for(std::chrono::nanoseconds(when_ns - before));
  counts_.slept_ns += now_ns() - before;
}

void Loop::handle(std::uint32_t number) {
  Client& client = clients_[number];
  if (!client.link.is_open()) return;
  if (client.step == Step::kHandshake) {
    const Link::Result result = client.link.progress();
    if (result == Link::Result::kAgain) return;
    if (result == Link::Result::kOver) return lose(number);
    ++counts_.handshakes;
    counts_.resumed += client.link.is_resumed();
    counts_.handshake_ns.record(now_ns() - client.began_ns);
    go_on(number);
  }
  if (!write_unsent(client)) return lose(number);
  read(number);
}

// After the handshake.
void Loop::go_on(std::uint32_t number) {
  Client& client = clients_[number];
  if (options_.mode == Mode::kStorm && options_.until == Until::kHandshake)
    return enter(client, Step::kTicket);
  if (options_.mode == Mode::kStorm && options_.until == Until::kBinding)
    return begin(number, Step::kBinding);
  if (far_ends_) {
    // Names the client to the far end.
    std::array<std::uint8_t, stun::kChannelDataHeaderSize + 4> hello{};
    wire::store_be16(hello.data(), kChannel);
    wire::store_be16(hello.data() + 2, 4);
    wire::store_be32(hello.data() + stun::kChannelDataHeaderSize, number);
    enter(client, Step::kBinding);
    return write(client, hello);
  }
  if (peers_ < 0) open_peers_socket(open_peers(local_of(client.link.fd()).address));
  begin(number, Step::kChallenge);
}

void Loop::serve(std::uint32_t number) {
  Client& client = clients_[number];
  ++counts_.served;
  client.tries = 0;
  counts_.served_ns.record(now_ns() - client.began_ns);
  client.due_ns = now_ns() + options_.refresh_s * kSecond;
  enter(client, Step::kReady);
  if (watcher_ != nullptr) watcher_->see_served(number);
}

void Loop::begin(std::uint32_t number, Step step) {
  Client& client = clients_[number];
  enter(client, step);
  ++client.serial;
  client.sends = 0;
  ask(number);
}

void Loop::ask(std::uint32_t number) {
  Client& client = clients_[number];
  const Method method = method_of(client.step);
  std::array<std::uint8_t, 1024> buffer;
  MessageWriter writer(buffer, Class::kRequest, method, transaction_id(number));
  if (method == Method::kAllocate) {
    writer.add_u8_rfffu(Attribute::kRequestedTransport, kUdp);
    if (peer_.address.family == Family::kIpv6)
      writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, kFamilyIpv6);
  }
  if (method == Method::kAllocate || method == Method::kRefresh)
    writer.add_u32(Attribute::kLifetime, options_.lifetime_s);
  if (method == Method::kChannelBind) {
    writer.add_channel_number(kChannel);
    writer.add_xor_address(Attribute::kXorPeerAddress, peer_);
  }
  if (method != Method::kBinding && client.step != Step::kChallenge) {
    writer.add_text(Attribute::kUsername, options_.user);
    writer.add_text(Attribute::kRealm, realm_);
    writer.add_text(Attribute::kNonce, client.nonce);
    writer.add_message_integrity(key_.view());
  }
  client.asked_ns = now_ns();
  ++client.sends;
  write(client, writer.finish());
}

// What the socket doesn't take waits.
void Loop::write(Client& client, Bytes bytes) {
  std::size_t put = 0;
  while (client.unsent.empty() && put < bytes.size()) {
    std::size_t some = 0;
    if (client.link.write(bytes.subspan(put), some) != Link::Result::kDone) break;
    put += some;
  }
  client.unsent.insert(client.unsent.end(), bytes.begin() + static_cast<std::ptrdiff_t>(put),
                       bytes.end());
}

bool Loop::write_unsent(Client& client) {
  std::size_t put = 0;
  while (put < client.unsent.size()) {
    std::size_t some = 0;
    const Link::Result result = client.link.write(Bytes(client.unsent).subspan(put), some);
    if (result == Link::Result::kOver) return false;
    if (result == Link::Result::kAgain) break;
    put += some;
  }
  client.unsent.erase(client.unsent.begin(),
                      client.unsent.begin() + static_cast<std::ptrdiff_t>(put));
  return true;
}

bool Loop::send(Client& client, Bytes messages) {
  if (!client.unsent.empty()) return false;
  write(client, messages);
  return true;
}

void Loop::read(std::uint32_t number) {
  Client& client = clients_[number];
  // Whatever is told of a message may end the connection.
  while (client.link.is_open()) {
    const std::size_t have = client.rest.size();
    std::copy(client.rest.begin(), client.rest.end(), room_.begin());
    std::size_t got = 0;
    const Link::Result result = client.link.read(std::span(room_).subspan(have, kRead), got);
    if (client.step == Step::kTicket && client.link.is_confirmed()) return serve(number);
    if (result == Link::Result::kAgain) return;
    if (result == Link::Result::kOver) return lose(number);
    if (options_.security == Security::kDtls) {
      take(number, Bytes(room_).first(got));
      continue;
    }
    const Bytes all = Bytes(room_).first(have + got);
    const std::size_t used = cut(number, all);
    if (client.link.is_open())
      client.rest.assign(all.begin() + static_cast<std::ptrdiff_t>(std::min(used, all.size())),
                         all.end());
  }
}

// How many bytes are whole messages; padding may be missing behind the last.
std::size_t Loop::cut(std::uint32_t number, Bytes bytes) {
  using State = wire::StreamMessage::State;
  const Client& client = clients_[number];
  std::size_t used = 0;
  while (used < bytes.size() && client.link.is_open()) {
    const Bytes left = bytes.subspan(used);
    const wire::StreamMessage message = wire::first_message(left, true);
    if (message.state == State::kStrange) {
      lose(number);
      break;
    }
    if (message.state == State::kMore || message.taken > left.size()) break;
    take(number, left.first(message.size));
    used += message.taken;
  }
  return used;
}

void Loop::take(std::uint32_t number, Bytes message) {
  if (message.size() < stun::kChannelDataHeaderSize) return;
  if (message[0] < 0x40) return take_response(number, message);
  const std::size_t length = wire::load_be16(message.data() + 2);
  if (wire::load_be16(message.data()) != kChannel ||
      length > message.size() - stun::kChannelDataHeaderSize || watcher_ == nullptr)
    return;
  watcher_->see_media_of_peer(number, message.subspan(stun::kChannelDataHeaderSize, length));
}

void Loop::take_response(std::uint32_t number, Bytes bytes) {
  MessageView message;
  if (MessageView::parse(bytes, message) != stun::ParseError::kNone ||
      !is_asking(clients_[number].step) || message.transaction_id() != transaction_id(number))
    return;
  if (message.message_class() == Class::kSuccess)
    succeed(number, message);
  else if (message.message_class() == Class::kError)
    refuse(number, message);
}

void Loop::succeed(std::uint32_t number, const MessageView& message) {
  Client& client = clients_[number];
  switch (client.step) {
    case Step::kBinding:
      return serve(number);
    case Step::kAllocate: {
      const auto relayed = message.xor_address(Attribute::kXorRelayedAddress);
      if (!relayed) return lose(number);
      client.relayed = *relayed;
      return begin(number, Step::kBind);
    }
    case Step::kBind:
      return serve(number);
    case Step::kRefresh:
      return begin(number, Step::kRebind);
    case Step::kRebind:
      client.due_ns = now_ns() + options_.refresh_s * kSecond;
      return enter(client, Step::kReady);
    default:
      return lose(number);
  }
}

// 401 and 438 bring a nonce to try again with.
void Loop::refuse(std::uint32_t number, const MessageView& message) {
  Client& client = clients_[number];
  const std::uint16_t code = message.error_code().value_or(0);
  const auto nonce = message.text(Attribute::kNonce);
  const auto realm = message.text(Attribute::kRealm);
  if ((code != 401 && code != 438) || !nonce || ++client.refusals > kMostRefusals) {
    ++counts_.errors[code];
    return lose(number);
  }
  client.nonce = *nonce;
  if (realm && *realm != realm_) {
    realm_ = *realm;
    key_ = stun::long_term_key(stun::PasswordAlgorithm::kMd5, options_.user, realm_,
                               options_.password);
  }
  begin(number, client.step == Step::kChallenge ? Step::kAllocate : client.step);
}

void Loop::read_peers() {
  static thread_local std::array<std::array<std::uint8_t, kMostDatagram>, kDatagrams> rooms;
  std::array<iovec, kDatagrams> vectors;
  std::array<mmsghdr, kDatagrams> messages{};
  for (unsigned i = 0; i < kDatagrams; ++i) {
    vectors[i] = {rooms[i].data(), rooms[i].size()};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int count = 0;
  do {
    count = recvmmsg(peers_, messages.data(), kDatagrams, 0, nullptr);
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (watcher_ != nullptr)
        watcher_->see_media_at_peer(Bytes(rooms[at]).first(messages[at].msg_len));
    }
  } while (count == static_cast<int>(kDatagrams));
}

void Loop::serve_far_ends() {
  far_ends_->serve([this](std::uint32_t number, Bytes payload, bool first) {
    if (!first && watcher_ != nullptr) return watcher_->see_media_at_peer(payload);
    if (number < clients_.size() && clients_[number].step == Step::kBinding) serve(number);
  });
}

void Loop::look_at_time(std::uint64_t now) {
  looked_ns_ = now;
  const bool datagrams = options_.security == Security::kDtls;
  const std::uint8_t most = options_.mode == Mode::kReconnect ? kMostSendsOfWaiting : kMostSends;
  for (std::uint32_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    if (client.step == Step::kIdle) continue;
    if (client.step == Step::kReady) {
      if (now >= client.due_ns && !far_ends_) begin(i, Step::kRefresh);
      continue;
    }
    const bool ready = is_ready(client.step);
    const std::uint64_t since = ready ? client.asked_ns : client.began_ns;
    bool over = now > since && now - since > kPatience;
    if (datagrams && client.step == Step::kHandshake)
      over = over || client.link.retransmit() == Link::Result::kOver;
    if (datagrams && is_asking(client.step) &&
        now >= client.asked_ns + (kAgainAfter << (client.sends - 1U))) {
      over = over || client.sends >= most;
      if (!over) ask(i);
    }
    if (over) lose(i);
  }
}

}  // namespace turnpike::streams
