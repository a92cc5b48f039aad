// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <dray/core/digest.hpp>
#include <dray/core/progress.hpp>
#include <dray/registry/client.hpp>

namespace dray::registry {

/// A registry as a pull-through cache sees it: single documents and blobs of any repository, with the client's
/// credentials, tokens, retries and resumed transfers. Thread-safe. Errors: not_found, permission_denied (also for what
/// does not exist), unavailable, corrupt, cancelled.
class Upstream {
 public:
  /// `url` is https://host[:port] or http://host[:port], without a path. http is only spoken where it says so.
  static Result<std::unique_ptr<Upstream>> create(const std::string& url, const CancelToken& cancel);
  ~Upstream();

  /// What the tag points to now (HEAD); an empty digest where the registry does not say. One short try: who asks has a
  /// copy to fall back on.
  Result<Digest> resolve(const std::string& repository, const std::string& tag);
  struct Manifest {
    std::string bytes, media_type;
  };
  /// `reference` is a tag or digest; whether the bytes have that digest is the caller's to check.
  Result<Manifest> manifest(const std::string& repository, const std::string& reference);
  Result<std::uint64_t> blob_size(const std::string& repository, const Digest& digest);
  /// Each byte once, in order, over as many connections as it takes; `size` in all, unverified.
  Result<void> blob(const std::string& repository, const Digest& digest, std::uint64_t size,
                    const std::function<Result<void>(std::span<const std::byte>)>& take);

 private:
  struct State;
  explicit Upstream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dray::registry
