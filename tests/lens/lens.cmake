# The lens (clearsky/simt/lens.hpp) sees each access of each kernel in the tests of tests/cuda and tests/lens. The
# compiler puts a call before each access, as for ThreadSanitizer, and hooks.cpp has the functions that are called: so
# -fsanitize=thread is for compiling and not for linking. Optimisation makes accesses disappear that a device would not
# do either, but vectors out of single accesses must not be made.

add_library(clearsky_lens_hooks OBJECT EXCLUDE_FROM_ALL lens/hooks.cpp)
target_link_libraries(clearsky_lens_hooks PRIVATE clearsky_test_options)
target_compile_definitions(clearsky_lens_hooks PUBLIC CLEARSKY_SIMT_LENS=1)
target_compile_options(clearsky_lens_hooks PRIVATE ${optimise_kernels})
set_target_properties(clearsky_lens_hooks PROPERTIES CXX_EXTENSIONS OFF)

set(clearsky_lens_options -fsanitize=thread -g1 -gdwarf-4)  # addr2line 2.40 mixes up the files of DWARF 5
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND clearsky_lens_options -O1 -finline-small-functions -Wno-tsan
       "SHELL:--param tsan-instrument-func-entry-exit=0")
else()
  list(APPEND clearsky_lens_options -O1 -fno-vectorize -fno-slp-vectorize
       "SHELL:-mllvm -disable-loop-idiom-all"  # calls of memcpy in place of single accesses are not seen
       "SHELL:-mllvm -tsan-instrument-read-before-write=1")
endif()

function(clearsky_put_under_lens target)
  target_link_libraries(${target} PRIVATE clearsky_lens_hooks clearsky_own_files clearsky::kernels clearsky::cuda
                                          doctest::doctest)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${target} PRIVATE CLEARSKY_SIMT_LENS=1)
  target_compile_options(${target} PRIVATE ${clearsky_lens_options})
endfunction()
