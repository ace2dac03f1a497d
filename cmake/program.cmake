# The program `clearsky`, at the top of the build folder: build/release/clearsky.
file(GLOB program_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/tdpcr/*.cpp)
if(program_sources)
  add_executable(clearsky_program ${program_sources} ${CLEARSKY_COMMIT_FILE})
  add_dependencies(clearsky_program clearsky_commit)
  set_source_files_properties(${CLEARSKY_COMMIT_FILE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON GENERATED ON)
  target_link_libraries(clearsky_program PRIVATE clearsky_own_files clearsky::kernels clearsky_simt_kernels
                                                 clearsky::cuda CLI11::CLI11)
  if(CLEARSKY_WITH_CUDA)
    target_sources(clearsky_program PRIVATE ${PROJECT_SOURCE_DIR}/examples/tdpcr/cuda_kernels.cu)
    target_compile_definitions(clearsky_program PRIVATE CLEARSKY_WITH_CUDA)
    set_target_properties(clearsky_program PROPERTIES CUDA_SEPARABLE_COMPILATION OFF)
  endif()
  # The kernels' inner loops are unrolled by hand: -O3 gains nothing there and compiles a third longer.
  target_compile_options(clearsky_program PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang>:$<$<CONFIG:Release>:-O2>>)
  # One translation unit: four of the commands would each compile the whole network, forward and backward.
  set_target_properties(clearsky_program PROPERTIES OUTPUT_NAME clearsky CXX_EXTENSIONS OFF UNITY_BUILD ON
                                                    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
else()
  message(STATUS "Program: not built, examples/tdpcr has no sources")
endif()

# Each other example is one file.
file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.cpp)
foreach(source ${example_sources})
  get_filename_component(name ${source} NAME_WE)
  add_executable(example_${name} ${source})
  target_link_libraries(example_${name} PRIVATE clearsky_own)
  set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name} CXX_EXTENSIONS OFF
                                                   RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
endforeach()
