// SPDX-License-Identifier: Apache-2.0
// See start_channel.hpp. Fields end with a zero byte; the first one is the error's code, "" for success.
#include "start_channel.hpp"

#include <charconv>
#include <vector>

namespace dray::engine {
namespace {

constexpr std::size_t kMaxOutcome = 1u << 20;

}  // namespace

Result<void> send_outcome(FdRef pipe, const Result<std::string>& started_at) {
  std::string text;
  if (started_at) {
    text += '\0' + *started_at;
  } else {
    const Error& error = started_at.error();
    text = std::to_string(static_cast<int>(error.code())) + '\0' + error.message() + '\0' + error.hint();
  }
  return write_all(pipe, text + '\0');
}

Result<std::string> receive_outcome(FdRef pipe) {
  const std::string text = TRY(read_all(pipe, kMaxOutcome));
  std::vector<std::string> fields;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\0', at);
    if (end == std::string::npos) break;
    fields.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (fields.size() == 2 && fields[0].empty()) return fields[1];
  if (fields.size() != 3) return fail(ErrorCode::unavailable, "the starting process ended without a word");
  int code = static_cast<int>(ErrorCode::internal);
  std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), code);
  return Failure(Error(static_cast<ErrorCode>(code), fields[1]).with_hint(fields[2]));
}

}  // namespace dray::engine
