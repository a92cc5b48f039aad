# SPDX-License-Identifier: Apache-2.0
# ccache when present. Without the sloppiness it cannot use precompiled headers at all. With the base directory, a second work
# tree of the same sources finds what the first compiled.
find_program(DRAY_CCACHE ccache)
if(DRAY_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=true ${DRAY_CCACHE})
  add_compile_options(-fpch-preprocess)
endif()
