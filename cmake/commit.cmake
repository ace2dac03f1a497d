# cmake -DSOURCE= -DOUT= -P commit.cmake: writes the commit of SOURCE as a C++ file, and leaves the file alone while it
# stays the same. "+" stands behind the commit where the tree has other changes.
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD OUTPUT_VARIABLE commit ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
else()
  execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND commit "+")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "extern const char* const clearsky_commit;
const char* const clearsky_commit = \"${commit}\";
")
