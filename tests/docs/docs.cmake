# Each page of docs/kernels that goes through a study quotes what it prints. The studies are compiled as a reader does it.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT CLEARSKY_SANITIZE)
  foreach(page README convolution fusion attention)
    add_test(NAME example.kernel_study.${page} COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/docs/studies.py ${page})
    set_tests_properties(example.kernel_study.${page} PROPERTIES TIMEOUT 300 ENVIRONMENT CXX=${CMAKE_CXX_COMPILER})
  endforeach()
endif()
# The page of measured times has what the results say.
add_test(NAME docs.performance COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/bench/peers/table.py --check)
# What is made of measured rows: merged runs, growth, tables.
add_test(NAME docs.peers COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/docs/peers.py)
