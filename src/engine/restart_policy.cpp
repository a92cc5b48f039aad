// SPDX-License-Identifier: Apache-2.0
// Docker's words for restart policies.
#include <charconv>

#include <dray/engine/containers.hpp>

namespace dray::engine {

const char* RestartPolicy::name() const {
  switch (kind) {
    case Kind::no:
      return "no";
    case Kind::always:
      return "always";
    case Kind::unless_stopped:
      return "unless-stopped";
    case Kind::on_failure:
      return "on-failure";
  }
  return "no";
}

Result<RestartPolicy> parse_restart_policy(const std::string& text) {
  RestartPolicy policy;
  if (text.empty()) return policy;
  auto invalid = [](const std::string& message) { return fail(ErrorCode::invalid_argument, message); };
  const std::size_t colon = text.find(':');
  const std::string word = text.substr(0, colon);
  const std::string count = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (word.empty()) return invalid("invalid restart policy format: no policy provided before colon");
  if (!count.empty()) {
    auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), policy.maximum_retries);
    if (error != std::errc() || end != count.data() + count.size())
      return invalid("invalid restart policy format: maximum retry count must be an integer");
  }
  bool known = false;
  for (auto kind : {RestartPolicy::Kind::no, RestartPolicy::Kind::always, RestartPolicy::Kind::unless_stopped,
                    RestartPolicy::Kind::on_failure}) {
    RestartPolicy candidate{kind, 0};
    if (word != candidate.name()) continue;
    policy.kind = kind;
    known = true;
  }
  if (!known)
    return invalid("invalid restart policy '" + word + "': use one of no, always, on-failure[:N], unless-stopped");
  if (policy.maximum_retries != 0 && policy.kind != RestartPolicy::Kind::on_failure)
    return invalid("maximum retry count cannot be used with restart policy '" + word + "'");
  if (policy.maximum_retries < 0) return invalid("maximum retry count cannot be negative");
  return policy;
}

}  // namespace dray::engine
