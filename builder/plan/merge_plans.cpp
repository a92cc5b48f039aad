// SPDX-License-Identifier: Apache-2.0
#include "plan/merge_plans.hpp"

#include <algorithm>

#include <dray/core/fd.hpp>

namespace dray::builder {
namespace {

/// What the kernel's loader looks at: the first 20 bytes of an ELF program.
struct Machine {
  const char* architecture;
  const char* emulator;
  unsigned char elf_class, byte_order;
  int number;
};
constexpr Machine kMachines[] = {
    {"amd64", "x86_64", 2, 1, 62}, {"arm64", "aarch64", 2, 1, 183},   {"386", "i386", 1, 1, 3},
    {"arm", "arm", 1, 1, 40},      {"riscv64", "riscv64", 2, 1, 243}, {"ppc64le", "ppc64le", 2, 1, 21},
    {"s390x", "s390x", 2, 2, 22},  {"mips64le", "mips64el", 2, 1, 8}, {"loong64", "loongarch64", 2, 1, 258}};

const Machine* machine_of(const std::string& architecture) {
  for (const Machine& machine : kMachines)
    if (architecture == machine.architecture) return &machine;
  return nullptr;
}

std::string elf_header(const Machine& machine) {
  std::string header(
      "\x7f"
      "ELF",
      4);
  header += {static_cast<char>(machine.elf_class), static_cast<char>(machine.byte_order), 1};
  header.resize(16, '\0');
  const bool little = machine.byte_order == 1;
  const char low = static_cast<char>(machine.number & 255), high = static_cast<char>(machine.number >> 8);
  header += little ? std::string{2, 0, low, high} : std::string{0, 2, high, low};
  return header;
}

std::string from_hex(std::string_view text) {
  std::string bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes += static_cast<char>(digit(text[i]) << 4 | digit(text[i + 1]));
  return bytes;
}

std::string field(const std::string& text, const std::string& name) {
  const std::size_t begin = text.find("\n" + name + " ");
  if (begin == std::string::npos) return "";
  const std::size_t value = begin + name.size() + 2;
  return text.substr(value, text.find('\n', value) - value);
}

/// An entry of binfmt_misc that takes programs with this header.
bool takes(const std::string& entry, const std::string& header) {
  if (!entry.starts_with("enabled\n")) return false;
  const std::string magic = from_hex(field(entry, "magic")), offset = field(entry, "offset");
  std::string mask = from_hex(field(entry, "mask"));
  if (magic.empty() || magic.size() > header.size() || (!offset.empty() && offset != "0")) return false;
  mask.resize(magic.size(), '\xff');
  for (std::size_t i = 0; i < magic.size(); ++i)
    if (((header[i] ^ magic[i]) & mask[i]) != 0) return false;
  return true;
}

bool is_registered(const std::string& binfmt_misc, const std::string& header) {
  for (const std::string& name : list_directory(binfmt_misc).value_or(std::vector<std::string>())) {
    if (name == "register" || name == "status") continue;
    const auto entry = read_file(binfmt_misc + "/" + name, 64u << 10);
    if (entry && takes(*entry, header)) return true;
  }
  return false;
}

bool is_native(const std::string& host, const std::string& wanted) {
  return host == wanted || (host == "amd64" && wanted == "386") || (host == "arm64" && wanted == "arm");
}

}  // namespace

MergedPlan merge_plans(const std::vector<Plan>& plans, const std::vector<image::Platform>& platforms) {
  MergedPlan merged;
  for (std::size_t p = 0; p < plans.size(); ++p) {
    std::vector<int> place;  // of this plan's vertices in the merged one
    for (Vertex vertex : plans[p].vertices) {
      for (int& input : vertex.inputs) input = place[static_cast<std::size_t>(input)];
      const auto same = std::ranges::find_if(merged.plan.vertices, [&](const Vertex& other) {
        return other.inputs == vertex.inputs && other.op == vertex.op;
      });
      if (same != merged.plan.vertices.end()) {
        place.push_back(same->id);
        continue;
      }
      if (plans.size() > 1 && vertex.title.starts_with('[')) vertex.title.insert(1, platforms[p].to_string() + " ");
      vertex.id = static_cast<int>(merged.plan.vertices.size());
      place.push_back(vertex.id);
      merged.plan.vertices.push_back(std::move(vertex));
    }
    merged.results.push_back(place[static_cast<std::size_t>(plans[p].result)]);
  }
  merged.plan.result = merged.results.back();
  return merged;
}

Result<void> check_emulation(const Plan& plan, const std::string& binfmt_misc) {
  const std::string host = image::Platform::host().architecture;
  std::vector<const image::Platform*> platforms(plan.vertices.size(), nullptr);
  for (const Vertex& vertex : plan.vertices) {
    const image::Platform*& platform = platforms[static_cast<std::size_t>(vertex.id)];
    if (const auto* source = std::get_if<SourceOp>(&vertex.op)) platform = &source->platform;
    if (!vertex.inputs.empty()) platform = platforms[static_cast<std::size_t>(vertex.inputs.front())];
    if (!std::holds_alternative<RunOp>(vertex.op) || platform == nullptr) continue;
    if (is_native(host, platform->architecture)) continue;
    const Machine* machine = machine_of(platform->architecture);
    if (machine != nullptr && is_registered(binfmt_misc, elf_header(*machine))) continue;
    const std::string emulator = machine != nullptr ? "qemu-" + std::string(machine->emulator) : "an emulator";
    return Failure(
        Error(ErrorCode::unsupported, "RUN for " + platform->to_string() + " is not possible on this host (" + host +
                                          "): no interpreter for its programs is registered")
            .with_location(vertex.location.to_string())
            .with_hint("install " + emulator +
                       " and register it with binfmt_misc (Debian: apt-get install "
                       "qemu-user-static binfmt-support), or cross-compile: FROM --platform=$BUILDPLATFORM"));
  }
  return {};
}

}  // namespace dray::builder
