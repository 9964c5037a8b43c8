# Writes TO: the file FROM with the one occurrence of REPLACE replaced BY another text.
file(READ "${FROM}" text)
string(FIND "${text}" "${REPLACE}" first)
string(FIND "${text}" "${REPLACE}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "${FROM} does not contain this text exactly once: ${REPLACE}")
endif()
string(REPLACE "${REPLACE}" "${BY}" text "${text}")
file(WRITE "${TO}" "${text}")
