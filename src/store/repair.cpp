// SPDX-License-Identifier: Apache-2.0
// `system check --repair`: first what is damaged goes, then what referred to it is mended or goes too.
#include "check_private.hpp"
#include "store_private.hpp"

namespace dray::store {
namespace {

using Kind = Problem::Kind;

void settled(Problem& problem, std::string done) {
  problem.repaired = true;
  problem.advice = std::move(done);
}

Result<void> remove_damaged(Store& store, Problem& problem) {
  if (problem.kind == Kind::damaged_blob) {
    TRY(store.content().remove(TRY(Digest::parse(problem.key))));
    settled(problem, "removed");
  } else if (problem.kind == Kind::lost_layer) {
    TRY(store.snapshots().remove_layer(DiffId{TRY(Digest::parse(problem.key))}));
    settled(problem, "the record is removed");
  }
  return {};
}

Result<void> unpack_missing(Store& store, const ImageRecord& record) {
  const LoadedImage image = TRY(store.load_image(record));
  for (std::size_t i = 0; i < image.config.diff_ids.size(); ++i) {
    const Digest& digest = image.manifest.layers.at(i).digest;
    if (store.snapshots().contains(image.config.diff_ids[i]) || !store.content().contains(digest)) continue;
    auto blob = make_fd_source(TRY(store.content().open_blob(digest)));
    TRY(store.snapshots().unpack(*blob, image.config.diff_ids[i]));
  }
  return store.snapshots().make_durable();
}

Result<void> mend_record(Store& store, Problem& problem) {
  switch (problem.kind) {
    case Kind::unpacked_missing:
      TRY_CTX(unpack_missing(store, *problem.image), problem.subject);
      settled(problem, "unpacked again");
      break;
    case Kind::unusable_image:
      TRY(store.remove_image(*problem.image));
      settled(problem, "the record is removed; " + problem.advice);
      break;
    case Kind::image_index:
      TRY(store.forget_image_index(problem.image->reference));
      settled(problem, "the index is forgotten; for all platforms " + problem.advice);
      break;
    case Kind::cache_layer:
      TRY(store.database()->execute("DELETE FROM build_cache WHERE key = ?", {problem.key}));
      settled(problem, "the record is removed");
      break;
    case Kind::cache_blob:
      TRY(store.database()->execute("UPDATE build_cache SET blob_digest = NULL, blob_size = 0 WHERE key = ?",
                                    {problem.key}));
      settled(problem, "the record is corrected");
      break;
    case Kind::database:
    case Kind::damaged_blob:
    case Kind::unreadable_blob:
    case Kind::lost_layer:
    case Kind::incomplete_image:
    case Kind::container:
      break;
  }
  return {};
}

}  // namespace

Result<void> repair(Store& store, CheckReport& report) {
  for (Problem& problem : report.problems) TRY(remove_damaged(store, problem));
  for (Problem& problem : report.problems) TRY(mend_record(store, problem));
  return {};
}

Result<CheckReport> check(Store& store, const CheckOptions& options, const CancelToken& cancel) {
  CheckReport report;
  {
    const auto lease = TRY(store.lease());
    report = TRY(examine(store, options, nullptr, cancel));
  }
  if (!options.repair || report.problems.empty()) return report;
  // Another process may have changed all that since: what looked wrong is looked at again, alone in the store.
  const auto lock = FileLock::try_acquire(lock_path(store.root()), FileLock::Mode::exclusive);
  if (!lock && lock.error().code() != ErrorCode::in_use) return Failure(lock.error());
  if (!lock) {
    report.repair_deferred = true;
    return report;
  }
  std::set<Digest> suspicious;
  for (const Problem& problem : report.problems)
    if (problem.kind == Kind::damaged_blob || problem.kind == Kind::unreadable_blob)
      suspicious.insert(TRY(Digest::parse(problem.key)));
  CheckReport second = TRY(examine(store, options, &suspicious, cancel));
  second.bytes = report.bytes;
  TRY(repair(store, second));
  return second;
}

}  // namespace dray::store
