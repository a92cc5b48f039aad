// SPDX-License-Identifier: Apache-2.0
// An index with all it names (`pull --all-platforms`). Its documents are written as they come, not kept in memory: a
// hostile index may name thousands. Nothing refers to them until the pull is complete.
#include "whole_index.hpp"

#include <set>

#include "transport.hpp"

namespace dray::registry {
namespace {

constexpr int kMaxDepth = 4;
constexpr std::size_t kMaxDocuments = 1000;
constexpr std::size_t kMaxBlobs = 20000;

class Collector {
 public:
  Collector(Session& session, HttpClient& client, store::Store& store)
      : session_(session), client_(client), store_(store) {}

  Result<void> collect(const std::string& bytes, const std::string& media_type, int depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::corrupt, "indexes are nested too deeply");
    if (!image::is_index(bytes, media_type)) {
      const image::Manifest manifest = TRY(image::parse_manifest(bytes));
      add(manifest.config);
      for (const image::Descriptor& layer : manifest.layers) add(layer);
      if (blobs_.size() > kMaxBlobs)
        return fail(ErrorCode::corrupt, "the index names more than " + std::to_string(kMaxBlobs) + " blobs");
      return {};
    }
    const image::Index index = TRY(image::parse_index(bytes));
    for (const image::Descriptor& entry : index.manifests) {
      if (!seen_.insert(entry.digest).second) continue;
      if (++documents_ > kMaxDocuments)
        return fail(ErrorCode::corrupt, "the index names more than " + std::to_string(kMaxDocuments) + " manifests");
      const Document child = TRY(document(entry));
      TRY_CTX(collect(child.bytes, child.media_type, depth + 1), "manifest " + entry.digest.to_string());
      TRY(store_.content().write_blob(child.bytes, child.digest));
    }
    return {};
  }
  std::vector<image::Descriptor> take() { return std::move(blobs_); }

 private:
  Result<Document> document(const image::Descriptor& entry) {
    if (store_.content().contains(entry.digest))
      if (auto known = store_.content().read_blob(entry.digest)) return verified_document(*std::move(known), entry);
    return fetch_document(session_, client_, entry.digest.to_string(), &entry);
  }
  void add(const image::Descriptor& blob) {
    if (seen_.insert(blob.digest).second) blobs_.push_back(blob);
  }

  Session& session_;
  HttpClient& client_;
  store::Store& store_;
  std::size_t documents_ = 0;
  std::set<Digest> seen_;
  std::vector<image::Descriptor> blobs_;
};

}  // namespace

Result<std::vector<image::Descriptor>> fetch_index_documents(Session& session, HttpClient& client, store::Store& store,
                                                             const Document& index) {
  Collector collector(session, client, store);
  TRY_CTX(collector.collect(index.bytes, index.media_type, 0), "index " + index.digest.to_string());
  return collector.take();
}

image::Descriptor descriptor_of_index(const Document& index) {
  image::Descriptor descriptor;
  descriptor.digest = index.digest;
  descriptor.size = index.bytes.size();
  descriptor.media_type = index.media_type.empty() ? std::string(image::kOciIndex) : index.media_type;
  return descriptor;
}

image::Platform first_platform(const Document& index, const image::Platform& fallback) {
  const auto parsed = image::parse_index(index.bytes);
  if (!parsed || image::select_platform(*parsed, fallback)) return fallback;
  for (const image::Descriptor& entry : parsed->manifests)
    if (entry.platform && entry.platform->os == "linux") return *entry.platform;
  return fallback;
}

}  // namespace dray::registry
