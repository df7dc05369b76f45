// Binding requests with what RFC 5780 adds to them, and what their answers say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "turnpike/stun.h"

namespace turnpike::natcheck {

// CHANGE-REQUEST's flags (RFC 5780 §7.2).
inline constexpr std::uint32_t kChangeAddress = 4, kChangePort = 2;

struct BindingOptions {
  std::uint32_t change = 0;         // kChangeAddress | kChangePort; 0: no CHANGE-REQUEST
  std::uint16_t response_port = 0;  // 0: no RESPONSE-PORT
  std::size_t padding = 0;          // bytes; 0: no PADDING
};

// A fresh transaction's; OpenSSL's randomness.
stun::TransactionId fresh_id();

std::vector<std::uint8_t> binding_request(const stun::TransactionId& id,
                                          const BindingOptions& options = {});

struct BindingAnswer {
  std::uint16_t error = 0;           // 0: a success
  std::optional<Endpoint> mapped;    // XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS where it is missing
  std::optional<Endpoint> in_clear;  // MAPPED-ADDRESS
  std::optional<Endpoint> other;     // OTHER-ADDRESS
  std::string software;              // printable characters only
  std::size_t size = 0;
};

// What a STUN message in `bytes` says; nullopt if it isn't an answer to `id`.
std::optional<BindingAnswer> read_answer(stun::Bytes bytes, const stun::TransactionId& id);

// Whether `bytes` is the request of `id`, come back.
bool is_request(stun::Bytes bytes, const stun::TransactionId& id);

// `text` without what a terminal would act on.
std::string printable(std::string_view text);

}  // namespace turnpike::natcheck
