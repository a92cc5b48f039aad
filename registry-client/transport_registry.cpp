// SPDX-License-Identifier: Apache-2.0
// docker://: a repository of a registry.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "blob_upload.hpp"
#include "mount_sources.hpp"
#include "referrers.hpp"
#include "transport.hpp"

namespace dray::registry {
namespace {

class RegistrySource : public ImageSource {
 public:
  RegistrySource(const CopyContext& context, HttpClient client, std::unique_ptr<Session> session)
      : context_(context), client_(std::move(client)), session_(std::move(session)) {}

  Result<Document> top() override {
    return fetch_document(*session_, client_, session_->reference().tag_or_digest(), nullptr);
  }
  Result<Document> child(HttpClient& client, const image::Descriptor& descriptor) override {
    return fetch_document(*session_, client, descriptor.digest.to_string(), &descriptor);
  }
  Result<FileDescriptor> open(HttpClient& client, const image::Descriptor& blob, const std::string& scratch,
                              StepProgress& progress) override {
    if (context_.store.content().contains(blob.digest)) return context_.store.content().open_blob(blob.digest);
    FileDescriptor file = TRY(make_unnamed_file(scratch));
    std::uint64_t done = 0;
    TRY(fetch_blob(*session_, client, blob, [&](std::span<const std::byte> bytes) -> Result<void> {
      TRY(write_all(file, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
      done += bytes.size();
      progress.bytes("Downloading", done, blob.size);
      return {};
    }));
    return file;
  }
  Result<std::vector<image::Descriptor>> referrers(HttpClient& client, const Digest& subject) override {
    return fetch_referrers(*session_, client, subject);
  }

 private:
  const CopyContext& context_;
  HttpClient client_;
  std::unique_ptr<Session> session_;
};

class RegistryDestination : public ImageDestination {
 public:
  RegistryDestination(const CopyContext& context, std::unique_ptr<Session> session)
      : session_(std::move(session)),
        uploader_(*session_),
        mount_sources_(find_mount_sources(context.store, session_->reference())) {
    const Reference& target = session_->reference();
    const auto& source = context.source_repository;
    if (!source || source->domain() != target.domain() || source->repository() == target.repository()) return;
    source_repository_ = source->repository();
    session_->add_pull_scope(source_repository_);
  }

  std::string scratch() const override {
    const char* configured = std::getenv("TMPDIR");
    return configured != nullptr && *configured != '\0' ? configured : "/var/tmp";
  }
  Result<bool> has(HttpClient& client, const image::Descriptor& blob) override {
    return uploader_.exists(client, "blobs/" + blob.digest.to_string());
  }
  Result<bool> adopt(HttpClient& client, const image::Descriptor& blob, StepProgress& progress) override {
    std::string from = source_repository_;
    if (const auto known = mount_sources_.find(blob.digest); from.empty() && known != mount_sources_.end()) {
      from = known->second;
      session_->add_pull_scope(from);
    }
    if (from.empty() || !TRY(uploader_.mount(client, blob, from))) return false;
    progress.end(ProgressEvent::Kind::cached, "Mounted from " + from);
    return true;
  }
  Result<void> put(HttpClient& client, const image::Descriptor& blob, FileDescriptor file,
                   StepProgress& progress) override {
    return uploader_.put_blob(client, blob, "", [&]() -> Result<FileDescriptor> { return std::move(file); }, progress);
  }
  Result<void> put_document(HttpClient& client, const Document& document, bool name_it) override {
    const std::string name = name_it ? session_->reference().tag_or_digest() : document.digest.to_string();
    TRY(uploader_.put_manifest(client, name, document.bytes, document.media_type, document.digest));
    return name_it ? Result<void>() : announce_referrer(*session_, uploader_, client, document);
  }

 private:
  std::unique_ptr<Session> session_;
  Uploader uploader_;
  const std::map<Digest, std::string> mount_sources_;
  std::string source_repository_;  ///< of the same registry, and it has every blob; or ""
};

Result<std::unique_ptr<Session>> connect(const CopyContext& context, HttpClient& client, const std::string& rest,
                                         Purpose purpose) {
  const Reference reference = TRY(Reference::parse(rest));
  return Session::connect(client, reference, purpose, context.options, context.progress, context.stop);
}

}  // namespace

Result<std::unique_ptr<ImageSource>> open_registry_source(const CopyContext& context, const std::string& rest) {
  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(connect(context, client, rest, Purpose::pull_manifest));
  return std::make_unique<RegistrySource>(context, std::move(client), std::move(session));
}

Result<std::unique_ptr<ImageDestination>> open_registry_destination(const CopyContext& context,
                                                                    const std::string& rest) {
  HttpClient client = TRY(HttpClient::create());
  return std::make_unique<RegistryDestination>(context, TRY(connect(context, client, rest, Purpose::push)));
}

}  // namespace dray::registry
