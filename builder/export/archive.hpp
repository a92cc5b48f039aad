// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "export/compose.hpp"

namespace dray::builder {

/// An output file that has its name only when it is whole; "-" is standard output.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& dest);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();
  ByteSink& sink() { return *sink_; }
  Result<void> commit();

 private:
  OutputFile() = default;
  std::string dest_, temporary_;
  FileDescriptor fd_;
  std::unique_ptr<ByteSink> sink_;
};

/// type=oci and type=docker: an OCI image layout, with docker's manifest.json for `docker load`; a tar file or a
/// directory.
Result<void> export_layout(const ExportRequest& request, const OutputOptions& output, const ComposedImage& image,
                           const CancelToken& cancel);

}  // namespace dray::builder
