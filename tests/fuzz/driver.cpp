// SPDX-License-Identifier: Apache-2.0
// A stand-in for libFuzzer where there is only g++: mutates seeds without looking at coverage, but also by whole
// tokens, since random bytes alone seldom get past a JSON parser. Usage: -runs=N -seed=N folder-or-file …; the input
// being tried is in /tmp/dray-fuzz-<pid> while it runs, and stays there after a crash.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr const char* kTokens[] = {"null",
                                   "true",
                                   "false",
                                   "{}",
                                   "[]",
                                   "\"\"",
                                   "0",
                                   "-1",
                                   "1.5",
                                   "4294967296",
                                   "18446744073709551615",
                                   "1e9",
                                   ",",
                                   ":",
                                   "{",
                                   "}",
                                   "[",
                                   "]",
                                   "\"",
                                   "\\u0000",
                                   "\"..\"",
                                   "\"/\"",
                                   "\"ALL\"",
                                   "\"a/b\"",
                                   "-9223372036854775808",
                                   "\xff",
                                   "\"time\"",
                                   "\"user\"",
                                   "{\"type\":\"pid\",\"path\":\"/x\"}",
                                   "\\\n",
                                   "\n",
                                   "\r\n",
                                   "<<EOF\n",
                                   "EOF\n",
                                   "<<-'EOF'",
                                   "${",
                                   "}",
                                   "$x",
                                   ":-",
                                   "##",
                                   "%%",
                                   "//",
                                   "'",
                                   "`",
                                   "FROM ",
                                   "RUN ",
                                   "COPY ",
                                   "ONBUILD ",
                                   "--mount=type=cache,",
                                   "target=",
                                   "# syntax=dray\n",
                                   "**/",
                                   "*",
                                   "!",
                                   "..",
                                   "[a-",
                                   "\\"};

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, unsigned seed) : seeds_(std::move(seeds)), random_(seed) {}

  std::string next() {
    std::string text = seeds_[below(seeds_.size())];
    for (std::size_t i = 0, count = 1 + below(4); i < count; ++i) mutate(text);
    return text;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  /// From a place to the next end of a JSON value, more or less.
  std::pair<std::size_t, std::size_t> pick_value(const std::string& text) {
    std::size_t begin = text.find_first_of(":[,", below(text.size()));
    if (begin == std::string::npos) return {0, 0};
    std::size_t end = text.find_first_of(",]}", begin + 1);
    return {begin + 1, (end == std::string::npos ? text.size() : end) - begin - 1};
  }

  void mutate(std::string& text) {
    if (text.empty()) text = "{}";
    const std::size_t at = below(text.size());
    switch (below(6)) {
      case 0:
        text[at] = static_cast<char>(below(256));
        break;
      case 1:
        text.erase(at, 1 + below(16));
        break;
      case 2:
        text.insert(at, kTokens[below(std::size(kTokens))]);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), below(64)));
        break;
      default: {  // most of the time: another value in place of one
        auto [begin, length] = pick_value(text);
        std::string value = kTokens[below(std::size(kTokens))];
        if (below(3) == 0) {
          const std::string& other = seeds_[below(seeds_.size())];
          auto [from, count] = pick_value(other);
          value = other.substr(from, count);
        }
        text.replace(begin, length, value);
      }
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937 random_;
};

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void run(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

int main(int count, char** arguments) {
  unsigned long runs = 1000;
  unsigned seed = 1;
  std::vector<std::string> seeds;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument.starts_with("-runs="))
      runs = std::stoul(argument.substr(6));
    else if (argument.starts_with("-seed="))
      seed = static_cast<unsigned>(std::stoul(argument.substr(6)));
    else if (std::filesystem::is_directory(argument))
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argument)) {
        if (entry.is_regular_file()) seeds.push_back(read_whole(entry.path()));
      }
    else
      seeds.push_back(read_whole(argument));
  }
  if (seeds.empty()) seeds.emplace_back("{}");
  std::sort(seeds.begin(), seeds.end());  // a directory has no order
  for (const std::string& text : seeds) run(text);
  if (runs == 0) return 0;
  const std::string current = "/tmp/dray-fuzz-" + std::to_string(getpid());
  Mutator mutator(seeds, seed);
  for (unsigned long i = 0; i < runs; ++i) {
    const std::string text = mutator.next();
    std::ofstream(current, std::ios::binary) << text;
    run(text);
  }
  std::filesystem::remove(current);
  std::printf("%lu inputs\n", runs);
  return 0;
}
