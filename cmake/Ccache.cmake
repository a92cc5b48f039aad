# SPDX-License-Identifier: Apache-2.0
# ccache when present. Without the sloppiness it cannot use precompiled headers at all.
find_program(DRAY_CCACHE ccache)
if(DRAY_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${DRAY_CCACHE})
  add_compile_options(-fpch-preprocess)
endif()
