// Asks StatelessAnswers, once, in nobody's name.
#include "flow/binding_pattern.h"

#include <array>
#include <cassert>
#include <cstddef>

#include "flow/conversion.h"

namespace turnpike::flow {

using namespace wire;

BindingPattern::BindingPattern(const StatelessAnswers& stateless) {
  const std::array<std::uint8_t, stun::kHeaderSize> request = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42};
  stun::MessageView message;
  (void)stun::MessageView::parse(request, message);
  std::array<std::uint8_t, kAnswerMax> answer{};
  const Endpoint nobody{Address::v4(0, 0, 0, 0), 0};
  const StatelessResult result =
      stateless.answer(Instant{}, message, nobody, {nobody}, false, answer);
  assert(result.answer == StatelessAnswer::kBindingSuccess);
  bytes.assign(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(result.size));
  store16(bytes.data() + kMappedPort, 0);
  store32(bytes.data() + kMappedAddress, 0);
  for (std::size_t i = 0; i < bytes.size(); i += 4)
    sum += load32(bytes.data() + i);
}

}  // namespace turnpike::flow
