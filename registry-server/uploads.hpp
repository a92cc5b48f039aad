// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <dray/core/result.hpp>
#include <dray/store/content_store.hpp>

namespace dray::registry_server {

/// Unfinished blob uploads by their id. They live as long as the process: after a restart a client gets 404 and starts
/// anew, and open() of the store has removed the bytes. Thread-safe.
class Uploads {
  struct Session {
    std::string repository;
    std::unique_ptr<store::BlobWriter> writer;
    std::chrono::steady_clock::time_point last_used;
    bool busy = false;
  };

 public:
  static constexpr std::size_t kMost = 256;  ///< at once; each may buffer 256 KiB
  static constexpr auto kExpiry = std::chrono::hours(1);

  /// One request's hold of a session; no other request gets it meanwhile. The destructor gives it back.
  class Hold {
   public:
    Hold(Hold&&) noexcept = default;
    Hold& operator=(Hold&&) = delete;
    ~Hold();
    const std::string& id() const { return id_; }
    store::BlobWriter& writer() { return *session_->writer; }
    /// The session ends with this hold, and its bytes go unless they were committed.
    void end() { ended_ = true; }

   private:
    friend class Uploads;
    Hold(Uploads& owner, std::string id, std::shared_ptr<Session> session)
        : owner_(&owner), id_(std::move(id)), session_(std::move(session)) {}
    Uploads* owner_;
    std::string id_;
    std::shared_ptr<Session> session_;
    bool ended_ = false;
  };

  /// Where there are kMost, the one unused for longest makes room, if that is a minute or more; else in_use.
  Result<Hold> start(const std::string& repository, store::BlobWriter writer);
  /// not_found (also where it is another repository's). Waits a little for a request whose client is gone but that has
  /// not noticed yet; then in_use.
  Result<Hold> take(const std::string& repository, const std::string& id);
  /// Removes those unused for kExpiry.
  void expire(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());
  std::size_t count();

  std::chrono::steady_clock::duration least_idle = std::chrono::minutes(1);  ///< before one makes room; for tests

 private:
  bool make_room();
  std::mutex mutex_;
  std::condition_variable freed_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;
};

}  // namespace dray::registry_server
