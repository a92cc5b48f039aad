# SPDX-License-Identifier: Apache-2.0
# Warnings for our own code only; errors when asked for (-D DRAY_WARNINGS_AS_ERRORS=ON).
option(DRAY_WARNINGS_AS_ERRORS "treat warnings as errors" OFF)
function(dray_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers
    # g++ 12 at -O2 sees out-of-bounds copies in std::string's own operator+ (GCC bugs 105329, 105651).
    -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread
    # and std::expected's value as read where only its error is set, after TRY (GCC bug 80635 for std::optional).
    -Wno-maybe-uninitialized)
  if(DRAY_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
