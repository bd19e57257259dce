# Compiler settings shared by every target, and the two functions that declare targets.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

option(EDGEFLEET_DEVICE_ONLY "Build only libedgefleet_device, its agent and examples" OFF)
option(EDGEFLEET_WERROR "Treat warnings as errors" ON)
set(EDGEFLEET_SANITIZER "" CACHE STRING "Sanitizers to build with: address,undefined or thread")

if(EDGEFLEET_SANITIZER)
  add_compile_options(-fsanitize=${EDGEFLEET_SANITIZER} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${EDGEFLEET_SANITIZER})
  if(EDGEFLEET_SANITIZER MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

add_library(edgefleet_warnings INTERFACE)
target_compile_options(edgefleet_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wno-missing-field-initializers
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  $<$<BOOL:${EDGEFLEET_WERROR}>:-Werror>)

# edgefleet_library(NAME SOURCES a.cc ... [PUBLIC t ...] [PRIVATE t ...])
# A static library `edgefleet_NAME` (alias `edgefleet::NAME`). Includes are written from the top of the tree.
function(edgefleet_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(edgefleet_${name} STATIC ${ARG_SOURCES})
  add_library(edgefleet::${name} ALIAS edgefleet_${name})
  target_include_directories(edgefleet_${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(edgefleet_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} edgefleet_warnings)
endfunction()

# edgefleet_program(NAME SOURCES main.cc ... LINK t ...): a program that lands in build/<preset>/bin.
function(edgefleet_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_LINK} edgefleet_warnings)
endfunction()

# edgefleet_test(NAME SOURCES a_test.cc ... LINK t ... [LABELS tsan ...] [TIMEOUT s])
# A GoogleTest program, one ctest entry each. Label `tsan` marks tests that run under ThreadSanitizer.
function(edgefleet_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock_main edgefleet_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
