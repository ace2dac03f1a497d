# Flags and libraries of our own targets (tests, program, benchmarks); none of them reaches a user of the library.
include(CheckCXXCompilerFlag)

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# What each of our targets links: the library and the flags.
add_library(clearsky_own INTERFACE)
target_link_libraries(clearsky_own INTERFACE clearsky::clearsky)
# Contraction: a * b + c becomes one instruction with one rounding, with every compiler alike.
target_compile_options(clearsky_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=fast -Wall -Wextra -Wpedantic
                                               -Wshadow>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlaps in "text" + std::string that are not there (its bug 105651).
  target_compile_options(clearsky_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(CLEARSKY_WARNINGS_AS_ERRORS)
  target_compile_options(clearsky_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
                                                $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()
if(CLEARSKY_NATIVE)
  # g++ 12 tunes for 256-bit vectors even where 512-bit ones are twice as fast.
  foreach(flag -march=native -mprefer-vector-width=512)
    string(MAKE_C_IDENTIFIER "CLEARSKY_HAS${flag}" known)
    check_cxx_compiler_flag(${flag} ${known})
    if(${known})
      target_compile_options(clearsky_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${flag}>)
    endif()
  endforeach()
endif()
if(CLEARSKY_SANITIZE)
  target_compile_options(
    clearsky_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${CLEARSKY_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer -g1>)
  target_link_options(clearsky_own INTERFACE -fsanitize=${CLEARSKY_SANITIZE})
endif()

# Third-party headers of io, geo, data and the program. Each is looked for once; who needs one that is missing says so.
find_package(nlohmann_json 3 QUIET)
find_package(CLI11 QUIET)
find_package(GDAL QUIET)
find_path(CLEARSKY_STB_DIR stb/stb_image.h DOC "Folder that holds stb/stb_image.h")

set(CLEARSKY_MISSING "")
if(NOT TARGET nlohmann_json::nlohmann_json)
  list(APPEND CLEARSKY_MISSING "nlohmann_json (Debian: nlohmann-json3-dev)")
endif()
if(NOT TARGET CLI11::CLI11)
  list(APPEND CLEARSKY_MISSING "CLI11 (Debian: libcli11-dev)")
endif()
if(NOT TARGET GDAL::GDAL)
  list(APPEND CLEARSKY_MISSING "GDAL (Debian: libgdal-dev)")
endif()
if(NOT CLEARSKY_STB_DIR)
  list(APPEND CLEARSKY_MISSING "stb (Debian: libstb-dev)")
endif()
if(CLEARSKY_MISSING)
  list(JOIN CLEARSKY_MISSING ", " missing)
  message(FATAL_ERROR "clearsky: the program and the tests need ${missing}; install them, or build with "
                      "-DCLEARSKY_PROGRAM=OFF -DCLEARSKY_TESTS=OFF to use the library alone")
endif()

add_library(clearsky_own_files INTERFACE)
target_link_libraries(clearsky_own_files INTERFACE clearsky_own nlohmann_json::nlohmann_json GDAL::GDAL)
target_include_directories(clearsky_own_files SYSTEM INTERFACE ${CLEARSKY_STB_DIR})

# -O3 would make kernels and tests a third slower to build, and no faster: the inner loops are unrolled by hand.
target_compile_options(clearsky_kernels PRIVATE $<$<CONFIG:Release>:-O2>)
target_link_libraries(clearsky_kernels PRIVATE clearsky_own)

# Results name the commit. It is asked for at each build, and in a file of its own: only that is compiled again.
set(CLEARSKY_COMMIT_FILE ${PROJECT_BINARY_DIR}/commit.cpp)
add_custom_target(clearsky_commit BYPRODUCTS ${CLEARSKY_COMMIT_FILE}
                  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DOUT=${CLEARSKY_COMMIT_FILE}
                          -P ${PROJECT_SOURCE_DIR}/cmake/commit.cmake)

# The CUDA kernels as C++: they take as long to compile as the program, which shares them with the tests of devices.
add_library(clearsky_simt_kernels STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/kernels/simt.cpp)
target_compile_options(clearsky_simt_kernels PRIVATE $<$<CONFIG:Release>:-O2>)
target_link_libraries(clearsky_simt_kernels PRIVATE clearsky_own clearsky::cuda clearsky::kernels)
set_target_properties(clearsky_simt_kernels PROPERTIES CXX_EXTENSIONS OFF)
