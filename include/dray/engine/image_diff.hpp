// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/engine/engine.hpp>

namespace dray::engine {

struct FileChange {
  char kind;         ///< 'A'dded, 'C'hanged, 'D'eleted, as `docker diff` has it
  std::string path;  ///< "/etc/passwd"
};
/// What one has to do to the files of image `from` to get those of `to`: type, mode, owner, device number, link target
/// and content count, times do not. What lies below an added directory is listed, what lay below a deleted one is not.
Result<std::vector<FileChange>> diff_images(Context& context, const std::string& from, const std::string& to,
                                            const CancelToken& cancel);

}  // namespace dray::engine
