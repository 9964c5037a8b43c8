# How the programs of this repository are built; users of the library never see this.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(rondo_build_settings INTERFACE)
target_compile_options(rondo_build_settings INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 raises false alarms when it optimises: about std::string's operator+ (GCC bug 105651), and about the frames of
  # coroutines, whose memory Asio recycles
  target_compile_options(rondo_build_settings INTERFACE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow
                                                        -Wno-mismatched-new-delete)
endif()
if(RONDO_WERROR)
  target_compile_options(rondo_build_settings INTERFACE -Werror)
endif()
if(RONDO_SANITIZE)
  target_compile_options(rondo_build_settings INTERFACE -fsanitize=${RONDO_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(rondo_build_settings INTERFACE -fsanitize=${RONDO_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL Clang)
    # clang's function sanitizer reports coroutine resumption
    target_compile_options(rondo_build_settings INTERFACE -fno-sanitize=function)
  endif()
endif()

if(RONDO_BUILD_FUZZERS)
  target_compile_options(rondo_build_settings INTERFACE -fsanitize=fuzzer-no-link) # counts what was reached
endif()

# The headers that cost most, compiled once and shared by every program that is compiled alike.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/pch.cpp CONTENT "")
function(rondo_precompile name)
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/pch.cpp)
  target_link_libraries(${name} PRIVATE rondo rondo_build_settings)
  target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.hpp)
endfunction()

rondo_precompile(rondo_pch)
function(rondo_program target)
  target_link_libraries(${target} PRIVATE rondo rondo_build_settings)
  target_precompile_headers(${target} REUSE_FROM rondo_pch)
endfunction()

# Compiles the files of a program four at a time: what Asio makes of coroutines is most of the work, and much the same in
# each. Their names must not collide. -DCMAKE_UNITY_BUILD=OFF for who changes one of them again and again.
function(rondo_compile_together target)
  if(DEFINED CMAKE_UNITY_BUILD AND NOT CMAKE_UNITY_BUILD)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage) # g++ takes the files for headers
  endif()
endfunction()

# The bodies of the library, compiled once for all programs that need them: the other mode, with everything inline, is
# tried by examples/quickstart and by the tests of the package.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/rondo_bodies.cpp CONTENT "#include <rondo/src.hpp>\n")
add_library(rondo_bodies OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/rondo_bodies.cpp)
rondo_program(rondo_bodies)
target_compile_definitions(rondo_bodies PRIVATE RONDO_SEPARATE_COMPILATION)

function(rondo_share_bodies target)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:rondo_bodies>)
  target_compile_definitions(${target} PRIVATE RONDO_SEPARATE_COMPILATION)
endfunction()
