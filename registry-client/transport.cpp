// SPDX-License-Identifier: Apache-2.0
#include "transport.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "registry_json.hpp"

namespace dray::registry {

Result<TransportName> parse_transport_name(const std::string& text) {
  for (const std::string_view transport : {"docker-archive", "oci-archive", "docker", "oci", "dir", "local"}) {
    if (!text.starts_with(std::string(transport) + ":")) continue;
    std::string rest = text.substr(transport.size() + 1);
    if (transport == "docker") {
      if (!rest.starts_with("//")) continue;
      rest.erase(0, 2);
    }
    if (rest.empty()) break;
    return TransportName{std::string(transport), std::move(rest)};
  }
  return Failure(Error(ErrorCode::invalid_argument, "\"" + text + "\" does not say where an image is")
                     .with_hint("docker://NAME, oci:PATH[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], "
                                "dir:PATH or local:NAME"));
}

Result<std::unique_ptr<ImageSource>> open_source(const CopyContext& context, const TransportName& name) {
  if (name.transport == "docker") return open_registry_source(context, name.rest);
  if (name.transport == "local") return open_local_source(context, name.rest);
  if (name.transport == "oci") return open_layout_source(name.rest);
  if (name.transport == "dir") return open_directory_source(name.rest);
  return open_archive_source(context, name.rest);
}

Result<std::unique_ptr<ImageDestination>> open_destination(const CopyContext& context, const TransportName& name) {
  if (name.transport == "docker") return open_registry_destination(context, name.rest);
  if (name.transport == "local") return open_local_destination(context, name.rest);
  if (name.transport == "oci") return open_layout_destination(name.rest);
  if (name.transport == "dir") return open_directory_destination(name.rest);
  return open_archive_destination(context, name.transport == "oci-archive" ? ArchiveKind::oci : ArchiveKind::docker,
                                  name.rest);
}

Result<Document> verified_document(std::string bytes, const image::Descriptor& descriptor) {
  Hasher hasher(descriptor.digest.algorithm());
  hasher.update(bytes);
  const Digest actual = hasher.finish();
  if (actual != descriptor.digest)
    return fail(ErrorCode::corrupt, "document " + descriptor.digest.to_string() + " has digest " + actual.to_string());
  Document document;
  document.media_type = TRY(check_document(bytes, descriptor.media_type));
  document.digest = descriptor.digest;
  document.bytes = std::move(bytes);
  return document;
}

Result<FileDescriptor> make_unnamed_file(const std::string& directory) {
  return open_file(directory, O_TMPFILE | O_RDWR, 0644);
}

Result<void> place_file(FdRef file, const std::string& path) {
  const std::string self = descriptor_path(file);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return fail_errno("writing \"" + path + "\"");
  if (status.st_nlink == 0 && ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0)
    return {};
  const std::string temporary = path + ".tmp-" + random_hex(4);
  const auto write = [&]() -> Result<void> {
    FileDescriptor out = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
    auto sink = make_fd_sink(FdRef(out));
    std::array<std::byte, 65536> buffer;
    for (off_t offset = 0;;) {
      const ssize_t got = ::pread(file.get(), buffer.data(), buffer.size(), offset);
      if (got < 0) return fail_errno("reading a blob");
      if (got == 0) break;
      TRY(sink->write(std::span(buffer).first(static_cast<std::size_t>(got))));
      offset += got;
    }
    TRY(out.close_checked());
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno("writing \"" + path + "\"");
    return {};
  };
  auto written = write();
  if (!written) ::unlink(temporary.c_str());
  return written;
}

std::pair<std::string, std::string> split_path_and_name(const std::string& rest) {
  // Names hold no slash in oci:, but do in docker-archive:; there the path ends at the first colon.
  const std::size_t colon = rest.find(':');
  if (colon == std::string::npos) return {rest, ""};
  return {rest.substr(0, colon), rest.substr(colon + 1)};
}

}  // namespace dray::registry
