# SPDX-License-Identifier: Apache-2.0
set(DRAY_SANITIZE "" CACHE STRING "sanitizers for the whole build, e.g. address,undefined")
if(DRAY_SANITIZE)
  add_compile_options(-fsanitize=${DRAY_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${DRAY_SANITIZE})
endif()
