// SPDX-License-Identifier: Apache-2.0
// `image copy`: what a document names goes first, blobs side by side, then the document itself; nothing is unpacked or
// written anew, so every digest stays. A blob's bytes are hashed here whatever the source is, before the destination
// gives them their name.
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <dray/registry/remote.hpp>

#include "parallel.hpp"
#include "platform_choice.hpp"
#include "transport.hpp"
#include "transport_json.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxDepth = 4;
constexpr std::size_t kMaxBlobs = 20000;

Result<void> verify(FdRef file, const image::Descriptor& blob, const Stop& stop) {
  Hasher hasher(blob.digest.algorithm());
  std::vector<std::byte> buffer(256 * 1024);
  std::uint64_t size = 0;
  for (;;) {
    if (stop.requested()) return Failure(Stop::error());
    const ssize_t got = ::pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(size));
    if (got < 0) return fail_errno("reading blob " + blob.digest.to_string());
    if (got == 0) break;
    size += static_cast<std::uint64_t>(got);
    if (size > blob.size) break;
    hasher.update(std::span(buffer).first(static_cast<std::size_t>(got)));
  }
  if (size != blob.size)
    return fail(ErrorCode::corrupt, "blob " + blob.digest.to_string() + " has not the " + std::to_string(blob.size) +
                                        " bytes that its descriptor states");
  if (const Digest actual = hasher.finish(); actual != blob.digest)
    return fail(ErrorCode::corrupt,
                "blob " + blob.digest.to_string() + ": the source's bytes have digest " + actual.to_string());
  return {};
}

class Copier {
 public:
  Copier(CopyContext& context, Stop& stop, const CopyOptions& what, ImageSource& source, ImageDestination& destination)
      : context_(context), stop_(stop), what_(what), source_(source), destination_(destination) {}

  Result<Digest> run(HttpClient& client, const std::string& name) {
    Document top = TRY(source_.top());
    if (!what_.all_platforms || !destination_.holds_indexes())
      top = TRY(choose_platform(std::move(top), what_.platform, name,
                                [&](const image::Descriptor& entry) { return source_.child(client, entry); }));
    TRY(collect(client, top, 0));
    if (what_.referrers) TRY(collect_referrers(client, top.digest, 0));
    TRY(copy_blobs(client));
    for (const Document& document : documents_)  // what is named before what names it
      TRY(destination_.put_document(client, document, false));
    TRY(destination_.put_document(client, top, true));
    for (const Document& document : referrers_) TRY(destination_.put_document(client, document, false));
    TRY(destination_.finish());
    return top.digest;
  }

 private:
  void add_blob(const image::Descriptor& blob) {
    if (seen_.insert(blob.digest).second) blobs_.push_back(blob);
  }

  /// The blobs of a document; the documents that an index names go to documents_.
  Result<void> collect(HttpClient& client, const Document& document, int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
    if (blobs_.size() + documents_.size() > kMaxBlobs)
      return fail(ErrorCode::corrupt, "the image names more than " + std::to_string(kMaxBlobs) + " blobs");
    if (!image::is_index(document.bytes, document.media_type)) {
      const image::Manifest manifest =
          TRY_CTX(image::parse_manifest(document.bytes), "manifest " + document.digest.to_string());
      add_blob(manifest.config);
      for (const image::Descriptor& layer : manifest.layers) add_blob(layer);
      return {};
    }
    const image::Index index = TRY_CTX(image::parse_index(document.bytes), "index " + document.digest.to_string());
    for (const image::Descriptor& entry : index.manifests) {
      if (!seen_.insert(entry.digest).second) continue;
      Document child = TRY(source_.child(client, entry));
      TRY(collect(client, child, depth + 1));
      if (what_.referrers) TRY(collect_referrers(client, child.digest, 0));
      documents_.push_back(std::move(child));
    }
    return {};
  }

  Result<void> collect_referrers(HttpClient& client, const Digest& subject, int depth) {
    if (depth > kMaxDepth) return {};  // a signature of a signature of a signature
    for (const image::Descriptor& entry : TRY(source_.referrers(client, subject))) {
      if (!seen_.insert(entry.digest).second) continue;
      Document document = TRY(source_.child(client, entry));
      TRY(collect(client, document, 0));
      const Digest digest = document.digest;
      referrers_.push_back(std::move(document));
      TRY(collect_referrers(client, digest, depth + 1));
    }
    return {};
  }

  Result<void> copy_blob(HttpClient& client, const image::Descriptor& blob, StepProgress& progress) {
    progress.started();
    if (TRY(destination_.has(client, blob))) {
      progress.end(ProgressEvent::Kind::cached, "Already exists");
      return {};
    }
    if (TRY(destination_.adopt(client, blob, progress))) return {};
    FileDescriptor file =
        TRY_CTX(source_.open(client, blob, destination_.scratch(), progress), "blob " + blob.digest.short_hex());
    TRY(verify(file, blob, stop_));
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno("reading a blob");
    return destination_.put(client, blob, std::move(file), progress);
  }

  Result<void> copy_blobs(HttpClient& first_client) {
    const int threads = context_.options.parallel_transfers;
    return transfer_all(first_client, blobs_.size(), threads, stop_, [&](HttpClient& client, std::size_t i) {
      StepProgress step(context_.progress, static_cast<int>(i) + 1, blobs_[i].digest.short_hex());
      auto copied = copy_blob(client, blobs_[i], step);
      if (!copied && copied.error().code() != ErrorCode::cancelled)
        step.end(ProgressEvent::Kind::failed, copied.error().message());
      return copied;
    });
  }

  CopyContext& context_;
  Stop& stop_;
  const CopyOptions& what_;
  ImageSource& source_;
  ImageDestination& destination_;
  std::set<Digest> seen_;
  std::vector<image::Descriptor> blobs_;
  std::vector<Document> documents_, referrers_;
};

}  // namespace

Result<Digest> copy(store::Store& store, const std::string& source, const std::string& destination,
                    const CopyOptions& what, const Options& options, ProgressSink& progress,
                    const CancelToken& cancel) {
  const TransportName from = TRY(parse_transport_name(source));
  const TransportName to = TRY(parse_transport_name(destination));
  Stop stop(cancel);
  const auto lease = TRY(store.lease());
  CopyContext context{store, what, options, progress, cancel, stop, std::nullopt};
  if (from.transport == "docker") context.source_repository = TRY_CTX(Reference::parse(from.rest), source);
  HttpClient client = TRY(HttpClient::create());
  const auto opened = TRY_CTX(open_source(context, from), source);
  const auto target = TRY_CTX(open_destination(context, to), destination);
  return Copier(context, stop, what, *opened, *target).run(client, source);
}

}  // namespace dray::registry
