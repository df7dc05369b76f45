// Version 1 is a line of text of at most 107 bytes, version 2 is binary; both say their own length.
#include "transport/proxy_header.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "wire/headers.h"

namespace turnpike::transport {
namespace {

using State = ProxyHeader::State;

constexpr std::array<std::uint8_t, 12> kSignature{0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                                  0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
constexpr std::size_t kFixed = 16;  // of version 2, before the addresses
constexpr std::string_view kLine = "PROXY ";
constexpr std::size_t kMostLine = 107;

// The next word of the line, which is followed by one space or is the last.
std::string_view take_word(std::string_view& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

ProxyHeader read_line(std::string_view text) {
  const std::size_t end = text.find("\r\n");
  if (end == std::string_view::npos || end + 2 > kMostLine)
    return {text.size() < kMostLine && end == std::string_view::npos ? State::kMore : State::kNone};
  std::string_view line = text.substr(kLine.size(), end - kLine.size());
  ProxyHeader header{State::kWhole, end + 2, std::nullopt};
  const std::string_view family = take_word(line);
  if (family == "UNKNOWN") return header;
  if (family != "TCP4" && family != "TCP6") return {};
  const auto source = Address::parse(take_word(line));
  const auto destination = Address::parse(take_word(line));
  const auto source_port = port_of(take_word(line));
  const auto destination_port = port_of(take_word(line));
  const Family meant = family == "TCP4" ? Family::kIpv4 : Family::kIpv6;
  if (!source || !destination || !source_port || !destination_port || !line.empty() ||
      source->family != meant || destination->family != meant)
    return {};
  header.client = Endpoint{*source, *source_port};
  return header;
}

ProxyHeader read_binary(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kFixed) return {State::kMore};
  const std::uint8_t version = bytes[12] >> 4, command = bytes[12] & 0x0F;
  const std::uint8_t family = bytes[13] >> 4, protocol = bytes[13] & 0x0F;
  const std::size_t length = wire::load_be16(bytes.data() + 14), size = kFixed + length;
  if (version != 2 || command > 1 || size > kMostProxyHeader) return {};
  if (bytes.size() < size) return {State::kMore};
  ProxyHeader header{State::kWhole, size, std::nullopt};
  if (command == 0 || family == 0) return header;
  // Of streams over IP alone: for anybody else nobody could be answered.
  if (protocol != 1 || (family != 1 && family != 2)) return {};
  const Family meant = family == 1 ? Family::kIpv4 : Family::kIpv6;
  const std::size_t address = meant == Family::kIpv4 ? 4 : 16;
  if (length < 2 * address + 4) return {};
  const std::uint8_t* const at = bytes.data() + kFixed;
  header.client = Endpoint{Address::from_bytes(meant, at), wire::load_be16(at + 2 * address)};
  return header;
}

}  // namespace

ProxyHeader read_proxy_header(std::span<const std::uint8_t> bytes) {
  const std::size_t some = std::min(bytes.size(), kSignature.size());
  if (std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(some),
                 kSignature.begin()))
    return some < kSignature.size() ? ProxyHeader{State::kMore} : read_binary(bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kLine.substr(0, text.size()))) return {};
  return text.size() < kLine.size() ? ProxyHeader{State::kMore} : read_line(text);
}

}  // namespace turnpike::transport
