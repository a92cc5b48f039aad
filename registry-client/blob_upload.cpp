// SPDX-License-Identifier: Apache-2.0
// One blob: HEAD; else a mount from a sibling repository that is known to hold it; else POST for an upload location and
// one PUT of the whole file. Where that breaks off in the middle (a proxy may bound a request's size or time), the next
// try sends PATCHes of some megabytes, and goes on where the registry says it is when one of them breaks.
#include "blob_upload.hpp"

#include <sys/stat.h>

#include "url.hpp"

namespace dray::registry {
namespace {

constexpr std::uint64_t kChunk = 16u << 20;
constexpr std::uint64_t kWorthChunks = 1u << 20;

/// "0-1023" or "bytes=0-1023": what the registry has of an upload, as the offset of the next byte.
std::optional<std::uint64_t> next_offset(std::string_view range) {
  const auto dash = range.find('-');
  if (dash == std::string_view::npos || dash + 1 == range.size() || range.size() - dash > 20) return std::nullopt;
  std::uint64_t last = 0;
  for (const char c : range.substr(dash + 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    last = last * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return last == 0 ? 0 : last + 1;  // registries say "0-0" for nothing at all
}

}  // namespace

struct Uploader::Job {
  HttpClient& client;
  const image::Descriptor& blob;
  const std::string& mount_from;
  const std::function<Result<FileDescriptor>()>& open;
  StepProgress& progress;
  FileDescriptor file;
  std::uint64_t size = 0;
  bool in_chunks = false, forgotten_before = false;
};

Result<void> Uploader::put_blob(HttpClient& client, const image::Descriptor& blob, const std::string& mount_from,
                                const std::function<Result<FileDescriptor>()>& open, StepProgress& progress) {
  progress.started();
  Job job{client, blob, mount_from, open, progress, {}};
  auto pushed = put_blob_inner(job);
  if (!pushed && pushed.error().code() != ErrorCode::cancelled)
    progress.end(ProgressEvent::Kind::failed, pushed.error().message());
  return pushed;
}

Result<void> Uploader::put_blob_inner(Job& job) {
  const std::string path = "blobs/" + job.blob.digest.to_string();
  if (TRY(exists(job.client, path))) {
    job.progress.end(ProgressEvent::Kind::cached, "Layer already exists");
    return {};
  }
  job.file = TRY_CTX(job.open(), "blob " + job.blob.digest.short_hex());
  struct stat status;
  if (::fstat(job.file.get(), &status) != 0) return fail_errno("reading the size of a blob");
  job.size = static_cast<std::uint64_t>(status.st_size);
  Backoff backoff(Backoff::Patience::patient);
  for (bool mount = true;; mount = false) {
    bool mounted = false;
    const Response response = TRY(upload(job, mount, mounted));
    if (mounted && TRY(exists(job.client, path))) {
      job.progress.end(ProgressEvent::Kind::cached, "Mounted from " + job.mount_from);
      return {};
    }
    if (mounted) continue;  // it said so, but has it not
    if (response.ok()) {
      job.progress.end(ProgressEvent::Kind::completed, "Pushed");
      return {};
    }
    if (response.failure == TransferFailure::interrupted || response.status == 413)
      job.in_chunks = job.in_chunks || job.size >= kWorthChunks;
    // An upload that the registry has forgotten (it restarted) is begun anew as well.
    const bool forgotten =
        response.failure == TransferFailure::none && response.status == 404 && response.url != begin_url();
    std::optional<std::chrono::milliseconds> wait;
    if ((forgotten && !job.forgotten_before) || (response.status == 413 && job.in_chunks && !job.forgotten_before)) {
      job.forgotten_before = true;
      wait = std::chrono::milliseconds(100);
    } else {
      wait = backoff.next(response);
    }
    if (!wait) {
      const std::string context = "pushing blob " + job.blob.digest.short_hex();
      if (response.failure != TransferFailure::none)
        return Failure(transfer_error(response, session_.host()).with_context(context));
      return Failure(remote_error(response, session_.reference(), Purpose::push));
    }
    if (!session_.stop().sleep(*wait)) return Failure(Stop::error());
  }
}

Result<bool> Uploader::exists(HttpClient& client, const std::string& path) {
  Request request;
  request.method = "HEAD";
  request.url = session_.url(path);
  // HEAD has no body to explain itself, and some registries refuse it for what does not exist: the upload
  // will tell.
  return TRY(session_.send_retrying(client, request)).ok();
}

Result<bool> Uploader::mount(HttpClient& client, const image::Descriptor& blob, const std::string& from) {
  Request begin;
  begin.method = "POST";
  begin.url = with_query(with_query(begin_url(), "mount", blob.digest.to_string()), "from", from);
  begin.headers = {"Content-Type: application/octet-stream"};
  const Response begun = TRY(session_.send(client, std::move(begin)));
  if (begun.status == 201 && begun.ok()) return exists(client, "blobs/" + blob.digest.to_string());
  if (!begun.ok() || begun.header("location").empty()) return false;
  Request cancel;
  cancel.method = "DELETE";
  cancel.url = TRY(resolve_location(begun.url, std::string(begun.header("location"))));
  TRY(session_.send(client, std::move(cancel)));  // if it cannot, the registry forgets the upload in time
  return false;
}

/// One try. The answer that failed, or the last one; `mounted` when no upload was needed.
Result<Response> Uploader::upload(Job& job, bool mount, bool& mounted) {
  mount = mount && !job.mount_from.empty();
  Request begin;
  begin.method = "POST";
  begin.url = begin_url();
  begin.headers = {"Content-Type: application/octet-stream"};
  if (mount)
    begin.url = with_query(with_query(begin.url, "mount", job.blob.digest.to_string()), "from", job.mount_from);
  Response begun = TRY(session_.send(job.client, std::move(begin)));
  if (!begun.ok()) return begun;
  if (begun.status == 201) {
    mounted = mount;
    return begun;
  }
  const std::string location = TRY(resolve_location(begun.url, std::string(begun.header("location"))));
  return job.in_chunks ? send_in_chunks(job, location) : send_whole(job, location);
}

Result<Response> Uploader::send_whole(Job& job, const std::string& location) {
  Request put;
  put.method = "PUT";
  put.url = with_query(location, "digest", job.blob.digest.to_string());
  put.headers = {"Content-Type: application/octet-stream"};
  put.upload =
      FileUpload{job.file, job.size, [&](std::uint64_t sent) { job.progress.bytes("Pushing", sent, job.size); }};
  return session_.send(job.client, std::move(put));
}

/// Where the registry is with an upload; nullopt if it does not know it (any more).
Result<std::optional<std::uint64_t>> Uploader::ask_offset(Job& job, std::string& location) {
  Request request;
  request.url = location;
  const Response response = TRY(session_.send_retrying(job.client, request));
  if (!response.ok()) return std::optional<std::uint64_t>();
  if (!response.header("location").empty())
    location = TRY(resolve_location(location, std::string(response.header("location"))));
  return std::optional(next_offset(response.header("range")).value_or(0));
}

Result<Response> Uploader::send_in_chunks(Job& job, std::string location) {
  Backoff backoff(Backoff::Patience::patient);
  for (std::uint64_t offset = 0; offset < job.size;) {
    const std::uint64_t size = std::min(kChunk, job.size - offset);
    Request patch;
    patch.method = "PATCH";
    patch.url = location;
    patch.headers = {"Content-Type: application/octet-stream",
                     "Content-Range: " + std::to_string(offset) + "-" + std::to_string(offset + size - 1)};
    patch.upload = FileUpload{
        job.file, size, [&](std::uint64_t sent) { job.progress.bytes("Pushing", offset + sent, job.size); }, offset};
    Response response = TRY(session_.send(job.client, std::move(patch)));
    if (response.ok()) {
      location = TRY(resolve_location(response.url, std::string(response.header("location"))));
      offset = next_offset(response.header("range")).value_or(offset + size);
      if (offset > job.size) return fail(ErrorCode::corrupt, "the registry has more of the blob than was sent");
      backoff.reset();
      continue;
    }
    if (response.status != 416 || response.failure != TransferFailure::none) {
      const auto wait = backoff.next(response);
      if (!wait) return response;
      if (!session_.stop().sleep(*wait)) return Failure(Stop::error());
    } else if (offset == 0) {
      return response;
    }
    const auto reached = TRY(ask_offset(job, location));
    if (!reached || *reached > job.size) return response;
    if (*reached > offset) backoff.reset();
    offset = *reached;
  }
  Request put;
  put.method = "PUT";
  put.url = with_query(location, "digest", job.blob.digest.to_string());
  return session_.send(job.client, std::move(put));
}

Result<void> Uploader::put_manifest(HttpClient& client, const std::string& name, const std::string& bytes,
                                    const std::string& media_type, const Digest& digest) {
  Request request;
  request.method = "PUT";
  request.url = session_.url("manifests/" + name);
  request.headers = {"Content-Type: " + media_type};
  request.body = bytes;
  const Response response = TRY(session_.send_retrying(client, request));
  if (!response.ok()) return Failure(remote_error(response, session_.reference(), Purpose::push));
  const auto stored = Digest::parse(response.header("docker-content-digest"));
  if (stored && stored->algorithm() == digest.algorithm() && *stored != digest)
    return fail(ErrorCode::corrupt,
                "the registry stored the manifest as " + stored->to_string() + ", sent was " + digest.to_string());
  return {};
}

}  // namespace dray::registry
