// Which socket asks what matters: mapping is of one socket, filtering of sockets that have spoken
// to nobody else (RFC 5780 §4.1).
#include "natcheck/discovery.h"

#include <netinet/in.h>

#include <array>
#include <system_error>

namespace turnpike::natcheck {
namespace {

constexpr std::size_t kSamples = 4;
constexpr int kPortTries = 8;
constexpr std::size_t kHeadersV4 = 28, kHeadersV6 = 48;
// Where more than this fits into one packet, a server need not take what doesn't.
constexpr int kMtuMax = 3500;

Question question(UdpSocket from, const Endpoint& to, const BindingOptions& options = {}) {
  Question made;
  made.from = std::move(from);
  made.to = to;
  made.options = options;
  return made;
}

// Of consecutive ports where they are to be had.
std::vector<UdpSocket> open_row(const Path& path) {
  for (int tries = 1;; ++tries) {
    std::vector<UdpSocket> row{open_udp(path)};
    const std::uint16_t first = local_of(*row[0]).port;
    try {
      while (row.size() < kSamples)
        row.push_back(open_udp(path, static_cast<std::uint16_t>(first + row.size())));
      return row;
    } catch (const std::system_error&) {
      if (tries < kPortTries) continue;
    }
    while (row.size() < kSamples)
      row.push_back(open_udp(path));
    return row;
  }
}

int mtu_to(const Path& path, const Endpoint& server) {
  const Descriptor probe = open_socket(path, SOCK_DGRAM, 0);
  const KernelAddress to(server);
  int mtu = 0;
  socklen_t size = sizeof mtu;
  const bool v4 = server.address.family == Family::kIpv4;
  if (connect(probe.get(), to.get(), to.size()) != 0 ||
      getsockopt(probe.get(), v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6}, v4 ? IP_MTU : IPV6_MTU,
                 &mtu, &size) != 0)
    return 0;
  return mtu;
}

class Discoverer {
 public:
  Discoverer(const Path& path, std::uint16_t port, Clock::duration patience)
      : path_(path), a1p1_{path.server, port}, patience_(patience) {}

  Discovery run() {
    const UdpSocket first = open_udp(path_);
    seen().local = local_of(*first);
    std::array one{question(first, a1p1_)};
    ask(one, patience_);
    seen().reached = one[0].outcome;
    if (one[0].outcome != Outcome::kAnswered) return found_;
    found_.round_trip_ms = one[0].round_trip_ms();
    found_.software = one[0].answer.software;
    seen().mapped = one[0].answer.mapped;
    seen().altered = one[0].answer.in_clear && one[0].answer.in_clear != seen().mapped;
    seen().other = one[0].answer.other;
    // One that is the asked address again in part is no second one.
    two_addresses_ = seen().other && seen().other->address != a1p1_.address &&
                     seen().other->port != a1p1_.port &&
                     seen().other->address.family == a1p1_.address.family;
    if (two_addresses_) see_mapping(first);
    see_ports();
    see_the_rest();
    return found_;
  }

 private:
  Observations& seen() { return found_.seen; }

  void see_mapping(const UdpSocket& socket) {
    const Endpoint& other = *seen().other;
    std::array asked{question(socket, {other.address, a1p1_.port}), question(socket, other),
                     question(socket, {a1p1_.address, other.port})};
    ask(asked, patience_);
    seen().mapped_by_a2p1 = asked[0].answer.mapped;
    seen().mapped_by_a2p2 = asked[1].answer.mapped;
    seen().a1p2 = asked[2].outcome;
  }

  void see_ports() {
    row_ = open_row(path_);
    std::vector<Question> asked;
    for (const UdpSocket& socket : row_)
      asked.push_back(question(socket, a1p1_));
    ask(asked, patience_);
    for (const Question& one : asked) {
      if (one.answer.mapped)
        seen().samples.push_back({local_of(*one.from).port, *one.answer.mapped});
    }
  }

  // All that may be silent, at once.
  void see_the_rest() {
    std::vector<Question> asked;
    if (two_addresses_) {
      asked.push_back(question(open_udp(path_), a1p1_, {.change = kChangeAddress | kChangePort}));
      asked.push_back(question(open_udp(path_), a1p1_, {.change = kChangePort}));
    }
    const std::size_t changes = asked.size();
    // Two sockets behind one NAT send to each other's public address, as two agents of ICE do: a
    // filter that wants to be asked first lets them in.
    const bool translated = seen().mapped != seen().local;
    if (translated && seen().samples.size() == kSamples) {
      for (const std::size_t i : {0U, 1U}) {
        asked.push_back(question(row_[i], seen().samples[1 - i].mapped));
        asked.back().arrives_at = row_[1 - i];
        asked.back().own_request = true;
      }
    }
    const std::size_t hairpins = asked.size();
    const int mtu = mtu_to(path_, a1p1_);
    if (mtu > 0 && mtu <= kMtuMax) {
      const auto padding = static_cast<std::size_t>((mtu + 3) / 4 * 4);
      asked.push_back(question(open_udp(path_), a1p1_, {.padding = padding}));
    }
    ask(asked, patience_);
    if (changes > 0) {
      seen().change_both = change_outcome(asked[0], true);
      seen().change_port = change_outcome(asked[1], false);
    }
    for (std::size_t i = changes; i < hairpins; ++i)
      add_hairpin(asked[i], seen().samples[i - changes].mapped);
    if (asked.size() > hairpins) {
      const Question& padded = asked[hairpins];
      seen().fragments = padded.outcome;
      const std::size_t headers = path_.server.family == Family::kIpv4 ? kHeadersV4 : kHeadersV6;
      seen().fragmented_answer = padded.answer.size + headers > static_cast<std::size_t>(mtu);
    }
  }

  // A server that answers from where it was asked has let nothing through a filter.
  Outcome change_outcome(const Question& asked, bool both) const {
    if (asked.outcome != Outcome::kAnswered) return asked.outcome;
    const bool other_address = asked.source.address != a1p1_.address;
    const bool other_port = asked.source.port != a1p1_.port;
    return other_port && other_address == both ? Outcome::kAnswered : Outcome::kIgnored;
  }

  void add_hairpin(const Question& asked, const Endpoint& sender) {
    if (seen().hairpin == Outcome::kAnswered) return;
    seen().hairpin = asked.outcome;
    seen().hairpin_from_mapped = asked.outcome == Outcome::kAnswered && asked.source == sender;
  }

  const Path& path_;
  Endpoint a1p1_;
  Clock::duration patience_;
  Discovery found_;
  bool two_addresses_ = false;
  std::vector<UdpSocket> row_;
};

}  // namespace

Discovery discover(const Path& path, std::uint16_t port, Clock::duration patience) {
  return Discoverer(path, port, patience).run();
}

}  // namespace turnpike::natcheck
