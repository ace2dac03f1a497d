# install + find_package(clearsky).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS clearsky clearsky_cuda EXPORT clearsky-targets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/clearsky DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cuda/clearsky DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
set(clearsky_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/clearsky)
install(EXPORT clearsky-targets NAMESPACE clearsky:: DESTINATION ${clearsky_config_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/clearsky-config.cmake.in
                              ${PROJECT_BINARY_DIR}/clearsky-config.cmake INSTALL_DESTINATION ${clearsky_config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/clearsky-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/clearsky-config.cmake ${PROJECT_BINARY_DIR}/clearsky-config-version.cmake
        DESTINATION ${clearsky_config_dir})
