// SPDX-License-Identifier: Apache-2.0
#include <dray/image/image.hpp>

namespace dray::image {

ChainId chain_id(const std::vector<DiffId>& diff_ids) {
  ChainId chain;
  for (const DiffId& diff_id : diff_ids) {
    chain.digest =
        chain.digest.empty() ? diff_id.digest : Digest::of(chain.digest.to_string() + " " + diff_id.digest.to_string());
  }
  return chain;
}

}  // namespace dray::image
