# cmake -DSOURCE= -DBUILD= -DGENERATOR= -DPART= -DOPTIONS= -P build_again.cmake: configures and builds a part of the tests.
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BUILD} -G ${GENERATOR} -DCLEARSKY_TEST_FILES=${PART}
                        -DCLEARSKY_PROGRAM=OFF ${OPTIONS} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} --parallel 2 COMMAND_ERROR_IS_FATAL ANY)
