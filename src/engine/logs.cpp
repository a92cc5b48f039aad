// SPDX-License-Identifier: Apache-2.0
// `logs` over the monitor's json-file log. --tail reads blocks from the end and parses nothing but what it shows.
// --follow reads on as the file grows, and ends once the container does not run and the last byte was read.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include <dray/core/process.hpp>

#include "container_state.hpp"

namespace dray::engine {
namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::size_t kMaxLine = 16u << 20;

using LineFunction = std::function<void(std::string_view text, bool is_stderr, std::string_view time)>;

Result<std::uint64_t> file_size(FdRef file) {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return fail_errno("reading the log's size");
  return static_cast<std::uint64_t>(status.st_size);
}

// Offset at which the last `lines` records begin.
Result<std::uint64_t> tail_offset(FdRef file, std::int64_t lines) {
  std::uint64_t position = TRY(file_size(file));
  if (lines == 0) return position;
  std::string block(kBlock, '\0');
  std::int64_t seen = 0;
  const std::uint64_t end = position;
  while (position > 0) {
    std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, position));
    position -= length;
    ssize_t count = ::pread(file.get(), block.data(), length, static_cast<off_t>(position));
    if (count < 0 || static_cast<std::size_t>(count) != length) return fail_errno("reading the log");
    for (std::size_t i = length; i-- > 0;) {
      if (block[i] != '\n' || position + i + 1 == end) continue;
      if (++seen == lines) return position + i + 1;
    }
  }
  return std::uint64_t{0};
}

class Reader {
 public:
  Reader(const LogOptions& options, const LineFunction& line) : options_(options), line_(line) {}

  // Hands out complete records of `bytes`; keeps an unfinished one for later.
  Result<void> feed(std::string_view bytes) {
    pending_ += bytes;
    std::size_t start = 0;
    for (std::size_t end; (end = pending_.find('\n', start)) != std::string::npos; start = end + 1)
      show(std::string_view(pending_).substr(start, end - start));
    pending_.erase(0, start);
    if (pending_.size() > kMaxLine) return fail(ErrorCode::corrupt, "the log has a line of more than 16 MiB");
    return {};
  }

  bool past_end() const { return past_end_; }

 private:
  void show(std::string_view text) {
    auto record = parse_log_line(text);
    if (!record) return;  // torn by a power failure
    if (options_.since || options_.until) {
      auto time = parse_time(record->time);
      if (time && options_.since && *time < *options_.since) return;
      if (time && options_.until && *time > *options_.until) {
        past_end_ = true;
        return;
      }
    }
    line_(record->text, record->stream == "stderr", record->time);
  }

  const LogOptions& options_;
  const LineFunction& line_;
  std::string pending_;
  bool past_end_ = false;
};

}  // namespace

Result<void> read_logs(Context& context, const std::string& name, const LogOptions& options, const LineFunction& line,
                       const CancelToken& cancel) {
  ContainerRecord record = TRY(find_record(context, name));
  Reader reader(options, line);
  std::vector<std::byte> buffer(kBlock);
  FileDescriptor file;
  for (;;) {
    // Asked before reading: what was written before the end is read after this.
    bool running = options.follow && is_active(context, record);
    if (!file.valid()) {
      auto opened = open_file(log_path(context, record.id), O_RDONLY);
      if (opened) {
        file = std::move(*opened);
        if (options.tail >= 0) {
          std::uint64_t offset = TRY(tail_offset(file, options.tail));
          if (::lseek(file.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return fail_errno("seeking in the log");
        }
      } else if (opened.error().code() != ErrorCode::not_found) {
        return Failure(std::move(opened).error());
      }
    }
    while (file.valid() && !reader.past_end()) {
      std::size_t count = TRY(read_some(file, buffer));
      if (count == 0) break;
      TRY(reader.feed(std::string_view(reinterpret_cast<const char*>(buffer.data()), count)));
      if (cancel.cancelled()) return {};
    }
    if (!running || reader.past_end() || cancel.cancelled()) return {};
    struct timespec pause{0, 50'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace dray::engine
