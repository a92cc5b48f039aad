// SPDX-License-Identifier: Apache-2.0
// Blobs: reading (whole or a range) and removing.
#include <sys/stat.h>

#include "handlers.hpp"
#include "pull_through.hpp"

namespace dray::registry_server {
namespace {

Reply unknown(const Digest& digest) { return error_reply(404, "BLOB_UNKNOWN", "no blob " + digest.to_string()); }

/// Status, headers and which bytes for a blob of this size.
Reply head_of(const Request& request, const Digest& digest, std::uint64_t size, Slice& slice) {
  const std::string tag = "\"" + digest.to_string() + "\"";
  Reply reply;
  reply.headers = {{"Content-Type", "application/octet-stream"},
                   {"Docker-Content-Digest", digest.to_string()},
                   {"ETag", tag},
                   {"Accept-Ranges", "bytes"},
                   {"Cache-Control", "max-age=31536000, immutable"}};
  slice = {0, size};
  if (request.header("If-None-Match") == tag) {
    reply.status = 304;
    return reply;
  }
  const std::string if_range = request.header("If-Range");
  if (request.method != "GET" || (!if_range.empty() && if_range != tag)) return reply;
  const RangeAnswer range = parse_range(request.header("Range"), size);
  if (range.kind == RangeAnswer::Kind::unsatisfiable)
    return error_reply(416, "SIZE_INVALID", "the blob has " + std::to_string(size) + " bytes")
        .with("Content-Range", "bytes */" + std::to_string(size));
  if (range.kind == RangeAnswer::Kind::partial) {
    slice = range.slice;
    reply.status = 206;
    reply.headers.emplace_back("Content-Range", "bytes " + std::to_string(slice.first) + "-" +
                                                    std::to_string(slice.first + slice.size - 1) + "/" +
                                                    std::to_string(size));
  }
  return reply;
}

Reply blob_reply(Handlers& handlers, const Request& request, const Digest& digest) {
  Slice slice;
  auto file = handlers.repositories.open_blob(request.target.name, digest);
  if (file) {
    struct stat status{};
    if (::fstat(file->get(), &status) != 0) return failed(handlers, fail_errno("reading a blob's size").error());
    Reply reply = head_of(request, digest, static_cast<std::uint64_t>(status.st_size), slice);
    if (reply.status < 300) reply.body = FileBody{*std::move(file), slice};
    return reply;
  }
  if (file.error().code() != ErrorCode::not_found) return failed(handlers, file.error());
  if (handlers.upstream == nullptr) return unknown(digest);
  const auto wanted = request.method == "HEAD" ? PullThrough::Wanted::size : PullThrough::Wanted::bytes;
  auto arriving = handlers.upstream->blob(request.target.name, digest, wanted);
  if (!arriving) {
    if (arriving.error().code() == ErrorCode::not_found) return unknown(digest);
    return failed(handlers, arriving.error());
  }
  Reply reply = head_of(request, digest, arriving->size, slice);
  if (reply.status < 300) reply.body = ArrivingBody{std::move(arriving->bytes), slice};
  return reply;
}

}  // namespace

std::unique_ptr<Exchange> read_blob(Handlers& handlers, const Request& request, const Digest& digest) {
  return replying(blob_reply(handlers, request, digest));
}

std::unique_ptr<Exchange> delete_blob(Handlers& handlers, const Request& request, const Digest& digest) {
  const auto removed = handlers.repositories.remove_blob(request.target.name, digest);
  if (!removed && removed.error().code() == ErrorCode::not_found) return replying(unknown(digest));
  if (!removed) return replying(failed(handlers, removed.error()));
  Reply reply;
  reply.status = 202;
  return replying(std::move(reply));
}

}  // namespace dray::registry_server
