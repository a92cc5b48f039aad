// SPDX-License-Identifier: Apache-2.0
// Functions that encode, decode and hash.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/md5.h>
#include <openssl/sha.h>

#include <cstdlib>

#include <dray/core/base64.hpp>
#include <dray/core/digest.hpp>
#include <dray/core/percent.hpp>

#include "functions.hpp"
#include "types.hpp"

namespace dray::cli::hcl {
namespace {

const unsigned char* bytes_of(const std::string& text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string to_hex(const unsigned char* bytes, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text.push_back("0123456789abcdef"[bytes[i] >> 4]);
    text.push_back("0123456789abcdef"[bytes[i] & 15]);
  }
  return text;
}

Result<Value> md5(Arguments a) {
  const std::string text = TRY(to_text(a[0]));
  unsigned char digest[MD5_DIGEST_LENGTH];
  ::MD5(bytes_of(text), text.size(), digest);
  return Value(to_hex(digest, sizeof digest));
}

Result<Value> sha1(Arguments a) {
  const std::string text = TRY(to_text(a[0]));
  unsigned char digest[SHA_DIGEST_LENGTH];
  ::SHA1(bytes_of(text), text.size(), digest);
  return Value(to_hex(digest, sizeof digest));
}

Result<Value> sha256(Arguments a) { return Value(Digest::of(TRY(to_text(a[0]))).hex()); }

Result<Value> sha512(Arguments a) {
  Hasher hasher("sha512");
  hasher.update(TRY(to_text(a[0])));
  return Value(hasher.finish().hex());
}

Result<Value> base64encode(Arguments a) { return Value(encode_base64(TRY(to_text(a[0])))); }

Result<Value> base64decode(Arguments a) {
  auto text = decode_base64(TRY(to_text(a[0])));
  if (!text) return wrong("the text is no base64");
  return Value(*std::move(text));
}

/// As Go: nothing that HTML would take for its own.
Result<Value> jsonencode(Arguments a) {
  std::string text;
  for (const char c : TRY(to_json(a[0]))) {
    if (c == '<')
      text += "\\u003c";
    else if (c == '>')
      text += "\\u003e";
    else if (c == '&')
      text += "\\u0026";
    else
      text.push_back(c);
  }
  return Value(std::move(text));
}
Result<Value> jsondecode(Arguments a) { return from_json(TRY(to_text(a[0]))); }

/// As in a form's query: a space is "+".
Result<Value> urlencode(Arguments a) {
  std::string text = percent_encode(TRY(to_text(a[0])), " ");
  for (char& c : text)
    if (c == ' ') c = '+';
  return Value(std::move(text));
}

Result<Value> csvdecode(Arguments a) {
  const auto records = TRY(read_csv(TRY(to_text(a[0]))));
  if (records.empty()) return wrong("there is no line with names");
  List rows;
  for (std::size_t i = 1; i < records.size(); ++i) {
    if (records[i].size() != records[0].size())
      return wrong("line " + std::to_string(i + 1) + " has another number of fields than the first");
    Object row;
    for (std::size_t k = 0; k < records[0].size(); ++k) {
      TRY(a.budget.make(1 + records[0][k].size()));
      row[records[0][k]] = records[i][k];
    }
    rows.emplace_back(std::move(row));
  }
  return Value(std::move(rows));
}

std::string uuid_text(std::string hex, char version) {
  hex[12] = version;
  hex[16] = "89ab"[static_cast<unsigned>(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) & 3u];
  for (const std::size_t at : {8u, 13u, 18u, 23u}) hex.insert(at, "-");
  return hex;
}

Result<Value> uuidv4(Arguments) { return Value(uuid_text(random_hex(16), '4')); }

Result<Value> uuidv5(Arguments a) {
  const std::string space = TRY(to_text(a[0])), name = TRY(to_text(a[1]));
  std::string bytes, digits;
  for (const char c : space)
    if (c != '-') digits.push_back(c);
  if (digits.size() != 32 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
    return wrong("\"" + space.substr(0, 100) + "\" is no UUID");
  for (std::size_t i = 0; i < 32; i += 2)
    bytes.push_back(static_cast<char>(std::strtol(digits.substr(i, 2).c_str(), nullptr, 16)));
  bytes += name;
  unsigned char digest[SHA_DIGEST_LENGTH];
  ::SHA1(bytes_of(bytes), bytes.size(), digest);
  return Value(uuid_text(to_hex(digest, 16), '5'));
}

Result<Value> homedir(Arguments) {
  const char* home = std::getenv("HOME");
  return Value(home != nullptr ? home : "/root");
}

/// Known, but not made: the error says so.
Result<Value> unsupported(Arguments) { return fail(ErrorCode::unsupported, "this function is not supported"); }

}  // namespace

const std::vector<Function>& encoding_functions() {
  static const std::vector<Function> functions = {{"md5", 1, 1, md5},
                                                  {"sha1", 1, 1, sha1},
                                                  {"sha256", 1, 1, sha256},
                                                  {"sha512", 1, 1, sha512},
                                                  {"base64encode", 1, 1, base64encode},
                                                  {"base64decode", 1, 1, base64decode},
                                                  {"jsonencode", 1, 1, jsonencode, true},
                                                  {"jsondecode", 1, 1, jsondecode},
                                                  {"urlencode", 1, 1, urlencode},
                                                  {"csvdecode", 1, 1, csvdecode},
                                                  {"uuidv4", 0, 0, uuidv4},
                                                  {"uuidv5", 2, 2, uuidv5},
                                                  {"homedir", 0, 0, homedir},
                                                  {"bcrypt", 0, kAnyArguments, unsupported, true},
                                                  {"rsadecrypt", 0, kAnyArguments, unsupported, true},
                                                  {"semvercmp", 0, kAnyArguments, unsupported, true},
                                                  {"cidrhost", 0, kAnyArguments, unsupported, true},
                                                  {"cidrnetmask", 0, kAnyArguments, unsupported, true},
                                                  {"cidrsubnet", 0, kAnyArguments, unsupported, true},
                                                  {"cidrsubnets", 0, kAnyArguments, unsupported, true}};
  return functions;
}

}  // namespace dray::cli::hcl
