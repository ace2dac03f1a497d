# The same tests with clang, and with sanitizers: build folders of their own, built and run as tests of this one, so that
# one run of ctest counts everything. With clang all folders whose results depend on the width of a vector; its kernels
# are optimised, the tests that call them are not, which halves the time that they take to build. Under sanitizers a part,
# where time is short: what is hard on memory.
#
# Vectors have another width in each build: the widest that this machine has in the first, 32 bytes with clang where
# that is another width, and the 16 bytes that any processor has with the sanitizers.

find_program(CLEARSKY_CLANG clang++)
set(part_for_clang "(core|autograd|cpu|ops|nn|optim|io|metrics|tdpcr|train)/")
set(part_for_sanitizers "core/|autograd/|cpu/|io/|ops/(view|matmul|conv2d|attention|resize|pad|restormer)")

# Adds NAME.build, then NAME.FOLDER for each folder that has a file in `part`.
function(clearsky_build_again name part seconds)
  set(dir ${PROJECT_SOURCE_DIR}/build/${name})
  add_test(NAME ${name}.build
           COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DBUILD=${dir} -DGENERATOR=${CMAKE_GENERATOR}
                   "-DPART=${part}" "-DOPTIONS=${ARGN}" -P ${CMAKE_CURRENT_SOURCE_DIR}/build_again.cmake)
  set_tests_properties(${name}.build PROPERTIES FIXTURES_SETUP ${name} PROCESSORS 2 TIMEOUT ${seconds} COST 1000)
  foreach(folder ${test_folders})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp)
    list(FILTER sources INCLUDE REGEX "/tests/(${part})")
    if(sources)
      add_test(NAME ${name}.${folder} COMMAND ${dir}/tests/${folder}_tests ${run_in})
      # Tests that ask for more memory than there is must get a null pointer, as they do without the sanitizer.
      set_tests_properties(${name}.${folder} PROPERTIES FIXTURES_REQUIRED ${name} TIMEOUT 900
                           FAIL_REGULAR_EXPRESSION "test cases: +0 " ENVIRONMENT ASAN_OPTIONS=allocator_may_return_null=1)
    endif()
  endforeach()
endfunction()

set(narrower_vectors "")
if(EXISTS /proc/cpuinfo)
  file(STRINGS /proc/cpuinfo cpu_flags REGEX "^flags.* avx2( |$)" LIMIT_COUNT 1)
  if(cpu_flags MATCHES " fma( |$)")
    set(narrower_vectors -DCLEARSKY_NATIVE=OFF "-DCMAKE_CXX_FLAGS=-mavx2 -mfma")
  endif()
endif()
if(CLEARSKY_CLANG)
  # -O1 proves as much and is built sooner; Release is what g++ builds.
  clearsky_build_again(clang "${part_for_clang}" 1500 -DCMAKE_CXX_COMPILER=${CLEARSKY_CLANG} -DCMAKE_BUILD_TYPE=Debug
                       "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -DNDEBUG" -DCLEARSKY_WARNINGS_AS_ERRORS=ON -DCLEARSKY_CUDA=OFF
                       -DCLEARSKY_PLAIN_TESTS=ON
                       ${narrower_vectors})
else()
  message(FATAL_ERROR "CLEARSKY_TEST_COMPILERS needs clang++ (Debian: clang)")
endif()
# With clang, which compiles instrumented code in half the time that g++ takes.
clearsky_build_again(sanitize "${part_for_sanitizers}" 1500 -DCMAKE_CXX_COMPILER=${CLEARSKY_CLANG}
                     -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1 -DCLEARSKY_SANITIZE=address,undefined -DCLEARSKY_CUDA=OFF
                     -DCLEARSKY_NATIVE=OFF)
