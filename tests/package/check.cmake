# Installs the library into an empty prefix and builds a stranger's project against it.
#   cmake -DBUILD=<build folder> -DSOURCE=<repository> -DWORK=<empty folder> -P check.cmake
function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(FATAL_ERROR "${what} failed:\n${output}")
  endif()
endfunction()

set(project ${CMAKE_CURRENT_LIST_DIR}/consumer)
file(REMOVE_RECURSE ${WORK})
run("install" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)

run("configuring with find_package" ${CMAKE_COMMAND} -G Ninja -S ${project} -B ${WORK}/installed
    -DCMAKE_PREFIX_PATH=${WORK}/prefix -DRONDO_WANTED=${VERSION} -DREQUESTS=ON)
run("building with find_package" ${CMAKE_COMMAND} --build ${WORK}/installed)
run("running with find_package" ${WORK}/installed/consumer)
run("a request with the bodies inline" ${WORK}/installed/request_inline)
run("a request with the bodies compiled once" ${WORK}/installed/request_separate)

run("configuring as a subdirectory" ${CMAKE_COMMAND} -G Ninja -S ${project} -B ${WORK}/embedded -DRONDO_SOURCE=${SOURCE})
run("building as a subdirectory" ${CMAKE_COMMAND} --build ${WORK}/embedded)
run("running as a subdirectory" ${WORK}/embedded/consumer)
if(EXISTS ${WORK}/embedded/bin/rondo-gateway)
  message(FATAL_ERROR "as a subdirectory the library builds its own programs")
endif()

execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${project} -B ${WORK}/refused
                -DCMAKE_PREFIX_PATH=${WORK}/prefix -DRONDO_WANTED=99.0
                RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT failed OR NOT output MATCHES "99.0")
  message(FATAL_ERROR "a version that does not exist was accepted:\n${output}")
endif()
