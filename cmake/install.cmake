include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(TARGETS rondo EXPORT rondo_targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rondo_targets NAMESPACE rondo:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
configure_package_config_file(cmake/rondo-config.cmake.in rondo-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
# before 1.0 a minor version may break its users
write_basic_package_version_file(rondo-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rondo-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/rondo-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
