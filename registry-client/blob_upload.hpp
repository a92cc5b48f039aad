// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include <dray/image/image.hpp>

#include "session.hpp"
#include "step_progress.hpp"

namespace dray::registry {

/// Puts blobs and manifests into the repository of a session. Thread-safe; each thread brings its own HttpClient.
class Uploader {
 public:
  explicit Uploader(Session& session) : session_(session) {}

  /// HEAD; else a mount from `mount_from` (a repository of the same registry, or ""); else an upload of what `open`
  /// gives. The step's end says which it was.
  Result<void> put_blob(HttpClient& client, const image::Descriptor& blob, const std::string& mount_from,
                        const std::function<Result<FileDescriptor>()>& open, StepProgress& progress);
  /// A mount alone. False where the registry would rather have an upload (which is called off), for whatever reason.
  Result<bool> mount(HttpClient& client, const image::Descriptor& blob, const std::string& from);
  /// `name` is a tag or a digest. The bytes are sent as they are.
  Result<void> put_manifest(HttpClient& client, const std::string& name, const std::string& bytes,
                            const std::string& media_type, const Digest& digest);
  /// For a manifest or a blob.
  Result<bool> exists(HttpClient& client, const std::string& path);

 private:
  struct Job;
  Result<void> put_blob_inner(Job& job);
  Result<Response> upload(Job& job, bool mount, bool& mounted);
  Result<Response> send_whole(Job& job, const std::string& location);
  Result<Response> send_in_chunks(Job& job, std::string location);
  Result<std::optional<std::uint64_t>> ask_offset(Job& job, std::string& location);
  std::string begin_url() const { return session_.url("blobs/uploads/"); }

  Session& session_;
};

}  // namespace dray::registry
