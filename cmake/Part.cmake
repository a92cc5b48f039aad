# SPDX-License-Identifier: Apache-2.0
# dray_part(NAME core SOURCES a.cpp … DEPENDS dray::x … LIBRARIES archive … )
# One part = one folder = one static library, alias dray::<name>. DEPENDS are the parts below it (their headers are visible
# to users too); LIBRARIES are third-party libraries, which no public header may show;
# a program with the property DRAY_STATIC_LIBRARIES gets their static form (fast start: design.md §1.2), except those that
# Debian ships only shared (isal).
# The precompiled header of std headers is built once (dray_pch) and reused by all parts.

file(WRITE "${CMAKE_BINARY_DIR}/dray_pch.cpp" "")
add_library(dray_pch STATIC "${CMAKE_BINARY_DIR}/dray_pch.cpp")
# The same flags as the parts, or the compiler cannot use it.
dray_warnings(dray_pch)
target_precompile_headers(dray_pch PRIVATE
  <algorithm> <array> <atomic> <cerrno> <chrono> <cstdint> <cstring> <expected> <functional> <map> <memory> <mutex>
  <optional> <set> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector>)

function(dray_part)
  cmake_parse_arguments(PART "" "NAME" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_library(dray_${PART_NAME} STATIC ${PART_SOURCES})
  add_library(dray::${PART_NAME} ALIAS dray_${PART_NAME})
  target_include_directories(dray_${PART_NAME} PUBLIC "${PROJECT_SOURCE_DIR}/include"
                                               PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(dray_${PART_NAME} PUBLIC ${PART_DEPENDS})
  foreach(library IN LISTS PART_LIBRARIES)
    if(library STREQUAL "isal")
      target_link_libraries(dray_${PART_NAME} PRIVATE isal)
    else()
      target_link_libraries(dray_${PART_NAME} PRIVATE
        "$<IF:$<BOOL:$<TARGET_PROPERTY:DRAY_STATIC_LIBRARIES>>,-l:lib${library}.a,-l${library}>")
    endif()
  endforeach()
  target_precompile_headers(dray_${PART_NAME} REUSE_FROM dray_pch)
  dray_warnings(dray_${PART_NAME})
endfunction()

# The arrows between parts run one way; an include that runs back or sideways fails the build.
add_custom_target(layers ALL
  COMMAND ${CMAKE_COMMAND} -D SOURCE_DIR=${PROJECT_SOURCE_DIR} -P ${PROJECT_SOURCE_DIR}/cmake/check_layers.cmake
  COMMENT "checking the direction of includes between parts")
