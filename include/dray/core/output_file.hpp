// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/stream.hpp>

namespace dray {

/// A file that the user names as a destination. A regular one gets its name only when it is whole, by a rename;
/// symbolic links are followed and stay. What is no regular file (/dev/null, a FIFO, /dev/stdout) is written directly.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path, unsigned mode = 0644,
                                   Durability durability = Durability::none);
  static OutputFile standard_output();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  ByteSink& sink() { return *sink_; }
  /// Of the file that will have the name; a device keeps its owner.
  Result<void> set_owner(uid_t uid, gid_t gid);
  Result<void> commit();

 private:
  OutputFile() = default;
  std::string target_, temporary_;  ///< temporary_ is empty where the target is written directly
  Durability durability_ = Durability::none;
  FileDescriptor fd_;
  std::unique_ptr<ByteSink> sink_;
};

Result<void> write_output_file(const std::string& path, std::string_view content, unsigned mode = 0644);

}  // namespace dray
