# The kernels' tests once more, with each access of each kernel seen by the lens (clearsky/simt/lens.hpp), as entries
# lens.NAME. The files of tests/lens are there for the lens itself.
#
# The compiler puts a call before each access, as for ThreadSanitizer, and hooks.cpp has the functions that are called:
# so -fsanitize=thread is for compiling and not for linking. Optimisation makes accesses disappear that a device would
# not do either, but vectors out of single accesses must not be made.
if(CLEARSKY_SANITIZE)
  return()  # a program has one kind of instrumentation
endif()

add_library(clearsky_lens_hooks OBJECT lens/hooks.cpp)
target_link_libraries(clearsky_lens_hooks PRIVATE clearsky_test_options)
target_compile_definitions(clearsky_lens_hooks PUBLIC CLEARSKY_SIMT_LENS=1)
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

# Programs of their own: those of tests/lens have lenses of their own, and launch what is wrong.
foreach(folder cuda lens)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp)
  if(CLEARSKY_TEST_FILES)
    list(FILTER sources INCLUDE REGEX "/tests/(${CLEARSKY_TEST_FILES})")
  endif()
  if(NOT sources)
    continue()
  endif()
  if(folder STREQUAL "cuda")
    set(target cuda_lens_tests)
  else()
    set(target lens_tests)
  endif()
  add_executable(${target} ${sources})
  target_link_libraries(${target} PRIVATE clearsky_test_main clearsky_lens_hooks clearsky_own_files clearsky::cuda
                                          doctest::doctest)
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE CLEARSKY_SIMT_LENS=1)
  target_compile_options(${target} PRIVATE ${clearsky_lens_options})
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "_test$" "" name ${name})
    add_test(NAME lens.${name} COMMAND ${target} --source-file=*/${name}_test.cpp ${run_in})
    set_tests_properties(lens.${name} PROPERTIES TIMEOUT 900 FAIL_REGULAR_EXPRESSION "test cases: +0 ")
  endforeach()
endforeach()
