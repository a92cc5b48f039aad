// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/core/stream.hpp>

#include "http.hpp"

namespace dray::registry {

/// Local bytes that end with an error when the work is stopped.
class StoppableSource : public ByteSource {
 public:
  StoppableSource(ByteSource& inner, const Stop& stop) : inner_(inner), stop_(stop) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    if (stop_.requested()) return Failure(Stop::error());
    return inner_.read(buffer);
  }

 private:
  ByteSource& inner_;
  const Stop& stop_;
};

}  // namespace dray::registry
