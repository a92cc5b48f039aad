// SPDX-License-Identifier: Apache-2.0
#include "uploads.hpp"

#include <dray/core/digest.hpp>

namespace dray::registry_server {
namespace {

constexpr auto kPatience = std::chrono::seconds(3);

/// A random UUID (RFC 9562, version 4): who does not know it cannot write to the upload.
std::string new_uuid() {
  std::string text = random_hex(16);
  text[12] = '4';
  text[16] = "89ab"[static_cast<unsigned>(text[16]) & 3];
  for (const std::size_t at : {20u, 16u, 12u, 8u}) text.insert(at, 1, '-');
  return text;
}

}  // namespace

Uploads::Hold::~Hold() {
  if (!session_) return;
  const std::lock_guard lock(owner_->mutex_);
  session_->busy = false;
  session_->last_used = std::chrono::steady_clock::now();
  if (ended_) owner_->sessions_.erase(id_);
  owner_->freed_.notify_all();
}

Result<Uploads::Hold> Uploads::start(const std::string& repository, store::BlobWriter writer) {
  auto session = std::make_shared<Session>();
  session->repository = repository;
  session->writer = std::make_unique<store::BlobWriter>(std::move(writer));
  session->busy = true;
  std::string id = new_uuid();
  const std::lock_guard lock(mutex_);
  if (sessions_.size() >= kMost && !make_room()) return fail(ErrorCode::in_use, "too many uploads at once");
  sessions_.emplace(id, session);
  return Hold(*this, std::move(id), std::move(session));
}

/// Caller holds mutex_.
bool Uploads::make_room() {
  auto oldest = sessions_.end();
  for (auto entry = sessions_.begin(); entry != sessions_.end(); ++entry) {
    if (entry->second->busy) continue;
    if (oldest == sessions_.end() || entry->second->last_used < oldest->second->last_used) oldest = entry;
  }
  if (oldest == sessions_.end() || std::chrono::steady_clock::now() - oldest->second->last_used < least_idle)
    return false;
  sessions_.erase(oldest);
  return true;
}

Result<Uploads::Hold> Uploads::take(const std::string& repository, const std::string& id) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || found->second->repository != repository)
      return fail(ErrorCode::not_found, "no such upload");
    if (!found->second->busy) {
      found->second->busy = true;
      return Hold(*this, id, found->second);
    }
    if (freed_.wait_until(lock, deadline) == std::cv_status::timeout)
      return fail(ErrorCode::in_use, "another request is writing to this upload");
  }
}

void Uploads::expire(std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(sessions_,
                [&](const auto& entry) { return !entry.second->busy && now - entry.second->last_used >= kExpiry; });
}

std::size_t Uploads::count() {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

}  // namespace dray::registry_server
