# Rules about the tree as a whole: layers, headers, linking, consumers, documentation.
find_package(Python3 QUIET COMPONENTS Interpreter)
if(NOT Python3_FOUND)
  message(FATAL_ERROR "clearsky: the tests of the structure need Python 3 (Debian: python3)")
endif()
set(structure ${CMAKE_CURRENT_SOURCE_DIR}/structure)

add_test(NAME structure.layers COMMAND Python3::Interpreter ${structure}/layers.py)
add_test(NAME structure.ops_have_rows COMMAND Python3::Interpreter ${structure}/ops_have_rows.py)
add_test(NAME structure.errors COMMAND Python3::Interpreter ${structure}/errors.py)

# -idirafter and not -isystem: these folders may be /usr/include, which must not come before the compiler's own.
get_target_property(gdal_folder GDAL::GDAL INTERFACE_INCLUDE_DIRECTORIES)
set(last_folders "")
foreach(folder ${gdal_folder} ${CLEARSKY_STB_DIR})
  list(APPEND last_folders -idirafter ${folder})
endforeach()
add_test(NAME structure.headers
         COMMAND bash ${structure}/headers.sh ${CMAKE_CXX_COMPILER} ${last_folders})
set_tests_properties(structure.headers PROPERTIES PROCESSORS 2 TIMEOUT 900 COST 500)

# Two units that include every header there is.
file(GLOB_RECURSE all_headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
     ${PROJECT_SOURCE_DIR}/include/clearsky/*.hpp)
list(TRANSFORM all_headers PREPEND "#include \"")
list(TRANSFORM all_headers APPEND "\"\n")
list(JOIN all_headers "" all_headers)
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/all_headers.hpp CONTENT "#pragma once\n${all_headers}")
add_library(clearsky_second_unit OBJECT ${structure}/two_units.cpp)
add_executable(two_units ${structure}/two_units.cpp)
target_compile_definitions(two_units PRIVATE CLEARSKY_FIRST_UNIT)
foreach(target clearsky_second_unit two_units)
  target_link_libraries(${target} PRIVATE clearsky_own_files)
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
  target_compile_options(${target} PRIVATE -O0)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endforeach()
target_link_libraries(two_units PRIVATE clearsky_second_unit)
add_test(NAME structure.two_units COMMAND two_units)

# Consumers: a project that finds the installed library, one that has it as a subfolder, with operations of its own or
# compiled once, and a plain compiler line.
foreach(consumer find_package add_subdirectory kernels compiler_line)
  add_test(NAME consumer.${consumer}
           COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/consumers/run.sh ${consumer} ${PROJECT_BINARY_DIR}
                   ${CMAKE_CXX_COMPILER} ${CMAKE_GENERATOR})
endforeach()
