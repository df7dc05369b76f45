// One client, one request at a time. Integrity is SHA-1's under an MD5 key, as browsers have it.
#include "natcheck/turn_check.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>

#include "turnpike/integrity.h"
#include "wire/headers.h"

namespace turnpike::natcheck {
namespace {

using stun::Attribute;
using stun::MessageView;
using stun::MessageWriter;
using stun::Method;

constexpr std::uint16_t kChannel = 0x4000;
constexpr std::int64_t kRestLifetime_s = 3600;
constexpr int kTries = 4;
constexpr std::uint8_t kUdpProtocol = 17;
constexpr std::string_view kEcho = "turnpike-natcheck: through the relay and back";

stun::Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// A message that has been read, with the bytes it stands in.
struct Reply {
  std::vector<std::uint8_t> bytes;
  MessageView view;
  bool success() const { return view.message_class() == stun::Class::kSuccess; }
  std::uint16_t code() const { return view.error_code().value_or(0); }
};

using Fill = std::function<void(MessageWriter&)>;

class TurnChecker {
 public:
  TurnChecker(Carrier& carrier, Family family, const Credentials& credentials, std::int64_t now_s,
              Clock::duration patience, TurnReport& report)
      : carrier_(carrier), family_(family), patience_(patience), report_(report) {
    user_ = credentials.user;
    password_ = credentials.password;
    if (credentials.secret.empty()) return;
    user_ = std::to_string(now_s + kRestLifetime_s) + ":" +
            (credentials.user.empty() ? "natcheck" : credentials.user);
    password_ = stun::rest_password(credentials.secret, user_);
  }

  void run() {
    if (!allocate()) return;
    permit_and_echo();
    give_back();
  }

 private:
  bool by_udp() const { return carrier_.way() == Way::kUdp; }

  void fail(std::string error, std::string advice = "") {
    report_.error = std::move(error);
    report_.advice = std::move(advice);
  }

  bool allocate() {
    const Fill fill = [this](MessageWriter& writer) {
      writer.add_u8_rfffu(Attribute::kRequestedTransport, kUdpProtocol);
      // Else an IPv6 client gets an IPv4 address (RFC 8656 §7.1).
      if (family_ == Family::kIpv6) writer.add_u8_rfffu(Attribute::kRequestedAddressFamily, 2);
    };
    const auto reply = request(Method::kAllocate, fill, "Allocate");
    if (!reply) return false;
    report_.relayed = reply->view.xor_address(Attribute::kXorRelayedAddress);
    report_.mapped = reply->view.xor_address(Attribute::kXorMappedAddress);
    if (!report_.relayed) {
      fail("Allocate: the answer names no relayed address");
      return false;
    }
    report_.allocated = true;
    return true;
  }

  // The relayed address is its own peer: what it sends comes back to it.
  void permit_and_echo() {
    const Fill peer = [this](MessageWriter& writer) {
      writer.add_xor_address(Attribute::kXorPeerAddress, *report_.relayed);
    };
    if (!request(Method::kCreatePermission, peer, "CreatePermission")) return;
    report_.permitted = true;
    if (!echo(false)) return;
    report_.echoed = true;
    const Fill bind = [&](MessageWriter& writer) {
      writer.add_channel_number(kChannel);
      peer(writer);
    };
    if (!request(Method::kChannelBind, bind, "ChannelBind")) return;
    report_.bound = true;
    report_.channel_echoed = echo(true);
  }

  void give_back() {
    const TurnReport so_far = report_;
    request(
        Method::kRefresh, [](MessageWriter& writer) { writer.add_u32(Attribute::kLifetime, 0); },
        "Refresh");
    // It would have ended by itself.
    report_ = so_far;
  }

  // A success; else what went wrong has been told. Learns realm and nonce on the way.
  std::optional<Reply> request(Method method, const Fill& fill, const std::string& name) {
    bool had_credentials = false;
    for (int turns = 0; turns < 3; ++turns) {
      auto reply = exchange(method, fill, had_credentials = !realm_.empty());
      if (!reply) {
        if (carrier_.is_over())
          fail(name + ": " +
               (by_udp() ? "nobody listens there" : "the server closed the connection"));
        else
          fail(name + ": no answer", "is TURN served at this port, or only STUN?");
        return std::nullopt;
      }
      if (reply->success()) {
        if (had_credentials && !stun::check_message_integrity(reply->view, key_.view())) {
          fail(name + ": the answer is not signed by who knows the password");
          return std::nullopt;
        }
        return reply;
      }
      const bool learns = reply->code() == 438 || (reply->code() == 401 && !had_credentials);
      if (!learns || !learn(reply->view)) {
        explain(name, *reply);
        return std::nullopt;
      }
    }
    fail(name + ": the server asks for the credentials again and again");
    return std::nullopt;
  }

  bool learn(const MessageView& view) {
    const auto realm = view.text(Attribute::kRealm), nonce = view.text(Attribute::kNonce);
    if (nonce) nonce_ = *nonce;
    if (realm) realm_ = *realm;
    if (realm_.empty() || nonce_.empty()) return false;
    const auto user = stun::opaque_string(user_), password = stun::opaque_string(password_);
    key_ = stun::long_term_key(stun::PasswordAlgorithm::kMd5, user.value_or(user_), realm_,
                               password.value_or(password_));
    return true;
  }

  void explain(const std::string& name, const Reply& reply) {
    const std::uint16_t code = reply.code();
    std::string error =
        name + ": " + std::to_string(code) + " " + std::string(stun::reason_phrase(code));
    std::string advice;
    if (code == 401)
      advice =
          "the server doesn't know this user with this password; of a REST secret: is it the "
          "same, and are both clocks right?";
    if (code == 403)
      advice = name == "Allocate"
                   ? "this client may not allocate"
                   : "the relay's rules refuse its own address as a peer: allocations work, but "
                     "two clients of this relay can't meet";
    if (code == 300) {
      const auto other = reply.view.address(Attribute::kAlternateServer);
      advice = "the server sends its clients to " +
               (other ? other->to_string() : std::string("another")) + ": check that one";
    }
    if (code == 400 || code == 420) advice = "the server is another kind than TURN of RFC 8656";
    if (code == 440) advice = "the server relays no addresses of this family";
    if (code == 486 || code == 508) advice = "limits of the server are used up";
    fail(std::move(error), std::move(advice));
  }

  std::optional<Reply> exchange(Method method, const Fill& fill, bool with_credentials) {
    const stun::TransactionId id = fresh_id();
    std::array<std::uint8_t, 2048> room;
    MessageWriter writer(room, stun::Class::kRequest, method, id);
    fill(writer);
    if (with_credentials) {
      writer.add_text(Attribute::kUsername, user_);
      writer.add_text(Attribute::kRealm, realm_);
      writer.add_text(Attribute::kNonce, nonce_);
      writer.add_message_integrity(key_.view());
    }
    const auto message = writer.finish();
    if (message.empty()) return std::nullopt;
    return send_until(message, [&](const std::vector<std::uint8_t>& bytes) -> std::optional<Reply> {
      Reply reply;
      reply.bytes = bytes;
      if (MessageView::parse(reply.bytes, reply.view) != stun::ParseError::kNone ||
          reply.view.transaction_id() != id || reply.view.method() != method)
        return std::nullopt;
      report_.request_ms = elapsed_ms_;
      return reply;
    });
  }

  // Data to the relayed address itself, as an indication or by the channel.
  bool echo(bool channel) {
    std::array<std::uint8_t, 512> room{};
    std::vector<std::uint8_t> message;
    if (channel) {
      wire::store_be16(room.data(), kChannel);
      wire::store_be16(room.data() + 2, static_cast<std::uint16_t>(kEcho.size()));
      std::copy(kEcho.begin(), kEcho.end(), room.data() + stun::kChannelDataHeaderSize);
      message.assign(room.begin(), room.begin() + stun::kChannelDataHeaderSize + kEcho.size());
    } else {
      MessageWriter writer(room, stun::Class::kIndication, Method::kSend, fresh_id());
      writer.add_xor_address(Attribute::kXorPeerAddress, *report_.relayed);
      writer.add(Attribute::kData, bytes_of(kEcho));
      const auto written = writer.finish();
      message.assign(written.begin(), written.end());
    }
    const auto came = send_until(message, [&](const std::vector<std::uint8_t>& bytes) {
      return is_echo(bytes, channel) ? std::optional(true) : std::nullopt;
    });
    if (came) {
      report_.echo_ms = elapsed_ms_;
      return true;
    }
    fail(channel ? "nothing came back by the channel" : "nothing came back through the relay",
         "the relay may not let packets from its own address in: a firewall on its host, or no way "
         "from its public address to itself");
    return false;
  }

  bool is_echo(const std::vector<std::uint8_t>& bytes, bool channel) const {
    if (channel) {
      constexpr std::size_t kHeader = stun::kChannelDataHeaderSize;
      return bytes.size() >= kHeader + kEcho.size() && wire::load_be16(bytes.data()) == kChannel &&
             std::equal(kEcho.begin(), kEcho.end(), bytes.begin() + kHeader);
    }
    MessageView view;
    if (MessageView::parse(bytes, view) != stun::ParseError::kNone ||
        view.method() != Method::kData)
      return false;
    const auto data = view.find(Attribute::kData);
    return data && std::equal(data->value.begin(), data->value.end(), kEcho.begin(), kEcho.end());
  }

  // Sends until `read` makes something of what comes. By a stream once is enough.
  template <typename Read>
  auto send_until(stun::Bytes message, Read&& read) -> decltype(read({})) {
    const auto deadline = Clock::now() + patience_;
    const int tries = by_udp() ? kTries : 1;
    for (int i = 0; i < tries; ++i) {
      const auto sent = Clock::now();
      if (!carrier_.send(message, deadline)) break;
      // Each wait is twice the one before; the last is what is left.
      const auto until = i + 1 == tries ? deadline : sent + patience_ * (1 << i) / (1 << tries);
      while (const auto bytes = carrier_.receive(until)) {
        elapsed_ms_ = std::chrono::duration<double, std::milli>(Clock::now() - sent).count();
        if (auto made = read(*bytes)) return made;
      }
      if (carrier_.is_over()) break;
    }
    return std::nullopt;
  }

  Carrier& carrier_;
  Family family_;  // of the relayed address to ask for
  Clock::duration patience_;
  TurnReport& report_;
  std::string user_, password_, realm_, nonce_;
  stun::Key key_;
  double elapsed_ms_ = 0;
};

}  // namespace

TurnReport check_turn(Way way, const Path& path, std::uint16_t port, const TlsSettings& tls,
                      const Credentials& credentials, std::int64_t now_s,
                      Clock::duration patience) {
  TurnReport report;
  const auto carrier = Carrier::open(way, path, port, tls, patience, report.error);
  if (!carrier) return report;
  report.connected = true;
  report.tls = carrier->tls();
  TurnChecker(*carrier, path.server.family, credentials, now_s, patience, report).run();
  if (report.works() && !report.tls.distrust.empty()) {
    report.error = "the certificate isn't trusted: " + report.tls.distrust;
    report.advice =
        "browsers refuse such a server: give it a certificate of its name by a known "
        "authority, with its intermediates";
  }
  return report;
}

}  // namespace turnpike::natcheck
