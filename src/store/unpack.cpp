// SPDX-License-Identifier: Apache-2.0
// One pass over a layer's blob: inflate in one thread, hash and extract in another. The tar reader stops at the
// end-of-archive mark, the diffID covers what follows it too, so the rest is read through the hasher. The directory has
// no name that means anything until the digest is right; an error, or kill -9, leaves nothing that another process
// would take for a layer.
#include <fcntl.h>

#include "extract.hpp"
#include "snapshotter_state.hpp"

namespace dray::store {
namespace {

Result<void> check_rest(ByteSource& blob, HashingSource& hashed, const DiffId& expected) {
  TRY(drain(hashed));
  TRY(drain(blob));  // padding behind the compressed stream
  Digest actual = hashed.finish();
  if (actual == expected.digest) return {};
  return fail(ErrorCode::corrupt, "uncompressed layer has digest " + actual.to_string() + ", the image config says " +
                                      expected.digest.to_string());
}

}  // namespace

Result<UnpackedLayer> Snapshotter::unpack(ByteSource& blob, const DiffId& expected) {
  UnpackedLayer layer;
  layer.diff_id = expected;
  auto uncompressed = make_decompressing_source(blob);
  PipelinedSource inflating(*uncompressed);
  HashingSource hashed(inflating, expected.digest.algorithm());
  if (contains(expected)) {
    // The layer is here, but whether this blob is that layer is only somebody's word: it may be pushed one
    // day.
    TRY(check_rest(blob, hashed, expected));
    layer.size = TRY(layer_size(expected));
    return layer;
  }
  ExtractedLayer extracted = TRY(SnapshotterAccess::extract(*this, hashed));
  TRY(check_rest(blob, hashed, expected));
  layer.size = extracted.size;
  TRY(SnapshotterAccess::publish(*this, std::move(extracted), expected));
  return layer;
}

Result<ExtractedLayer> SnapshotterAccess::extract(Snapshotter& snapshotter, ByteSource& tar) {
  UnnamedSnapshot snapshot = TRY(UnnamedSnapshot::create(snapshotter.state_->directory));
  TRY(make_directory(snapshot.directory(), "fs", 0755));
  const FileDescriptor root = TRY(open_file_at(snapshot.directory(), "fs", O_RDONLY | O_DIRECTORY));
  Extractor extractor(root, snapshotter.state_->driver->whiteouts());
  tar::Reader reader(tar);
  for (;;) {
    auto entry = TRY(reader.next());
    if (!entry) break;
    TRY(extractor.add(*entry, reader));
  }
  TRY(extractor.finish());
  snapshot.close();
  const std::int64_t flags =
      (extractor.has_whiteouts() ? kHasWhiteouts : 0) | (extractor.has_opaque_root() ? kHasOpaqueRoot : 0);
  return ExtractedLayer{std::move(snapshot), extractor.bytes(), flags};
}

}  // namespace dray::store
