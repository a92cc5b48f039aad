// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/progress.hpp>

namespace dray::builder {

/// A FileLock on a file that may be removed by whoever holds it exclusively: the lock is of the file that has the name.
/// nullopt: another process, or another step of this one, holds it.
Result<std::optional<FileLock>> try_named_lock(const std::string& path, FileLock::Mode mode);

/// Waits for it; `waiting` is called once if there is something to wait for. The holder's death ends the wait.
Result<FileLock> wait_for_named_lock(const std::string& path, FileLock::Mode mode, const std::function<void()>& waiting,
                                     const CancelToken& cancel);

}  // namespace dray::builder
