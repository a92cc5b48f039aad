// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <dray/builder/builder.hpp>

namespace dray::builder {

/// The agent's socket that --ssh of this id names. not_found: the build was given none; unsupported: a private key.
Result<std::string> find_agent(const std::vector<SshSource>& sources, const std::string& id);

/// A socket, in memory, behind which the user's agent lists its keys and signs; whatever else is asked of it is
/// refused. It answers as long as this object lives.
class SshProxy {
 public:
  static Result<std::unique_ptr<SshProxy>> start(const std::string& agent, std::uint32_t mode, std::uint32_t uid,
                                                 std::uint32_t gid);
  ~SshProxy();
  SshProxy(const SshProxy&) = delete;
  SshProxy& operator=(const SshProxy&) = delete;
  /// The socket as a detached mount, once.
  FileDescriptor take_mount() { return std::move(mount_); }

 private:
  struct Client {
    std::thread thread;
    std::atomic<bool> done{false};
  };
  SshProxy() = default;
  void serve();
  void answer(FileDescriptor client) const;
  std::string agent_;
  FileDescriptor listener_, stop_, mount_;
  std::thread thread_;
};

}  // namespace dray::builder
