// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/reference.hpp>
#include <dray/core/result.hpp>

#include "http.hpp"

namespace dray::registry {

/// What a request was for: it decides the sentence for the user.
enum class Purpose { pull_manifest, pull_blob, push, remove, catalog, login };

/// The Error for an answer that was not the wanted one, in Docker's words ("pull access denied for x, …").
Error remote_error(const Response& response, const Reference& reference, Purpose purpose);
/// "registry localhost:5000 is not reachable: connection refused".
Error transfer_error(const Response& response, const std::string& host);
/// Access refused before anything was asked of the repository ("no basic auth credentials").
Error denied(const Reference& reference, Purpose purpose, const std::string& reason);

/// "76 of 100 pulls left in 6 hours", from Docker Hub's ratelimit headers; "" where there are none, or more than
/// `worth_telling` left.
std::string rate_limit(const Response& response, std::uint64_t worth_telling);

/// Whether the same request may succeed a little later.
bool is_temporary(const Response& response);

/// Waiting times between tries: doubled each time, with jitter, Retry-After honoured. A registry that cannot
/// be reached is given up within a second (quick), unless it was reached before (patient): then it is treated
/// like a busy one.
class Backoff {
 public:
  enum class Patience { quick, patient };
  explicit Backoff(Patience patience = Patience::quick) : patience_(patience) {}
  /// nullopt when it is time to give up.
  std::optional<std::chrono::milliseconds> next(const Response& response);
  void reset() { tries_ = 0; }

 private:
  const Patience patience_;
  int tries_ = 0;
};

}  // namespace dray::registry
