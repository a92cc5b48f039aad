// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

// Errors are values. Every function of ours that can fail returns Result<T>; nothing of ours throws.
// Exceptions of libraries are caught in the one .cpp that calls the library and become an Error there.

namespace dray {

/// What kind of failure this is: for programs (exit codes, HTTP status), never derived from message text.
enum class ErrorCode {
  internal,
  not_found,
  already_exists,
  invalid_argument,
  permission_denied,
  in_use,
  unavailable,  ///< a peer (registry, DNS, kernel facility) does not answer or is missing
  corrupt,      ///< bytes that do not match their digest, size or format
  no_space,
  cancelled,
  unsupported,
  command_failed,    ///< a process that ran and ended with a non-zero status (a build's RUN)
  not_executable,    ///< container command found, cannot be executed: exit code 126
  command_not_found  ///< container command does not exist: exit code 127
};

/// A failure: code, message, errno of the system call behind it (0 if none), where in the user's input it is
/// ("Dockerfile:12"), and a hint what to do. One pointer in size; copyable (shares its immutable state until changed).
/// Messages: lower case, no full stop, quote what the user typed, say what to do next.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message);

  /// From errno: maps the number to a code and appends its text. Call directly after the failing call.
  static Error from_errno(std::string message);
  static Error from_errno(int error_number, std::string message);

  ErrorCode code() const;
  int error_number() const;
  const std::string& message() const;   ///< with the chain of contexts: "pushing x: reading blob: no such file"
  const std::string& location() const;  ///< "Dockerfile:12", or empty
  const std::string& hint() const;      ///< or empty

  Error with_context(std::string_view context) &&;  ///< prefixes "context: "
  Error with_location(std::string location) &&;     ///< kept if one is already set (the innermost wins)
  Error with_hint(std::string hint) &&;
  Error with_code(ErrorCode code) &&;
  /// Appends the failure of a clean-up: the first error wins, later ones are shown but never replace it.
  Error with_cleanup_failure(const Error& cleanup) &&;

  /// "location: message (hint)" as shown to the user after "dray: ".
  std::string to_string() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  State& own();
};

template <typename T>
using Result = std::expected<T, Error>;

using Failure = std::unexpected<Error>;

/// `return fail(ErrorCode::not_found, "no such image: \"x\"");`
inline Failure fail(ErrorCode code, std::string message) { return Failure(Error(code, std::move(message))); }
/// `return fail_errno("opening \"" + path + "\"");` directly after the failing call.
Failure fail_errno(std::string message);

namespace detail {
template <typename T>
T take(Result<T>& result) {
  if constexpr (std::is_void_v<T>) {
    return;
  } else {
    return std::move(*result);
  }
}
}  // namespace detail

}  // namespace dray

// TRY(expr): the value of a Result, or return its error from the enclosing function. Use it only as a whole initialiser
// or statement, never inside a braced initialiser (g++ 12 leaks the members already built there on the error path).
#define TRY(expression) DRAY_TRY_NAMED(DRAY_UNIQUE_NAME(__COUNTER__), expression, )

// TRY_CTX(expr, "pushing " + ref): as TRY, with context put before the error's message.
#define TRY_CTX(expression, context) DRAY_TRY_NAMED(DRAY_UNIQUE_NAME(__COUNTER__), expression, .with_context(context))

// A name of its own for each use, since one may stand in a lambda in the expression of another.
#define DRAY_UNIQUE_NAME(number) DRAY_UNIQUE_NAME_2(number)
#define DRAY_UNIQUE_NAME_2(number) dray_try_result_##number##_
#define DRAY_TRY_NAMED(name, expression, with_context)              \
  __extension__({                                                   \
    auto name = (expression);                                       \
    if (!name) [[unlikely]]                                         \
      return ::dray::Failure(std::move(name).error() with_context); \
    ::dray::detail::take(name);                                     \
  })
