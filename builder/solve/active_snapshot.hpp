// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include <dray/store/snapshotter.hpp>

namespace dray::builder {

/// Removes the active snapshot unless it became a layer.
class ActiveSnapshot {
 public:
  ActiveSnapshot(store::Snapshotter& snapshots, std::string id) : snapshots_(snapshots), id_(std::move(id)) {}
  ActiveSnapshot(const ActiveSnapshot&) = delete;
  ActiveSnapshot& operator=(const ActiveSnapshot&) = delete;
  ~ActiveSnapshot() {
    if (!id_.empty()) (void)snapshots_.remove(id_);  // what cannot be removed now is garbage for `prune`
  }
  const std::string& id() const { return id_; }
  void keep() { id_.clear(); }
  std::string release() { return std::exchange(id_, ""); }

 private:
  store::Snapshotter& snapshots_;
  std::string id_;
};

}  // namespace dray::builder
