# Links shared libraries so that old distributions load them: the C++ library goes in, and of glibc
# nothing newer than TVM's own wheel wants.
#
# The objects are compiled by the system's compiler, because TVM's libraries throw and catch
# exceptions of GCC's C++ library. The package `ziglang` links them: it has the symbols of every
# glibc. The unwinder stays the shared one, which every frame of the process must agree on.

set(FERRYLM_GLIBC "2.28" CACHE STRING "Oldest glibc that must load the native libraries")

# Prints nothing where Python has no ziglang.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
    "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))"
  OUTPUT_VARIABLE FERRYLM_ZIG OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)

function(ferrylm_file_of_compiler name result)
  execute_process(
    COMMAND "${CMAKE_CXX_COMPILER}" "-print-file-name=${name}"
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT IS_ABSOLUTE "${path}")
    set(path "")
  endif()
  set(${result} "${path}" PARENT_SCOPE)
endfunction()

# Sets FERRYLM_PORTABLE_LINK to a rule for CMAKE_CXX_CREATE_SHARED_LIBRARY, or to nothing where a
# library with strings, threads, files and exceptions cannot be linked that way.
function(ferrylm_find_portable_link)
  set(FERRYLM_PORTABLE_LINK "" PARENT_SCOPE)
  ferrylm_file_of_compiler(libstdc++.a standard)
  ferrylm_file_of_compiler(libgcc.a builtins)
  ferrylm_file_of_compiler(libgcc_s.so.1 unwinder)
  if(NOT FERRYLM_ZIG OR NOT standard OR NOT builtins OR NOT unwinder
      OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    return()
  endif()
  set(folder "${CMAKE_CURRENT_SOURCE_DIR}/portable_link")
  set(work "${CMAKE_CURRENT_BINARY_DIR}/portable_link")
  file(MAKE_DIRECTORY "${work}")
  set(command "${FERRYLM_ZIG}" cc -target "${CMAKE_SYSTEM_PROCESSOR}-linux-gnu.${FERRYLM_GLIBC}"
    -shared -s "-Wl,--version-script=${folder}/exports.map" -Wl,--gc-sections
    -Wl,--no-undefined)
  set(libraries "${work}/glibc.o" "${standard}" "${builtins}" "${unwinder}" -ldl -lpthread)
  foreach(name glibc probe)
    execute_process(
      COMMAND "${CMAKE_CXX_COMPILER}" -std=c++17 -O2 -fPIC -fvisibility=hidden
        -c "${folder}/${name}.cc" -o "${work}/${name}.o"
      RESULT_VARIABLE result ERROR_VARIABLE problem)
    if(NOT result EQUAL 0)
      message(STATUS "no portable link: ${problem}")
      return()
    endif()
  endforeach()
  execute_process(
    COMMAND ${command} -o "${work}/probe.so" "${work}/probe.o" ${libraries}
    RESULT_VARIABLE result ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message(STATUS "no portable link: ${problem}")
    return()
  endif()
  list(JOIN command "\" \"" first)
  list(JOIN libraries "\" \"" last)
  set(FERRYLM_PORTABLE_LINK
    "\"${first}\" -o <TARGET> <OBJECTS> <LINK_LIBRARIES> \"${last}\"" PARENT_SCOPE)
endfunction()

ferrylm_find_portable_link()
if(FERRYLM_PORTABLE_LINK)
  message(STATUS "native libraries for glibc ${FERRYLM_GLIBC} and newer")
  set(CMAKE_CXX_CREATE_SHARED_LIBRARY "${FERRYLM_PORTABLE_LINK}")
else()
  message(STATUS "native libraries for this system's glibc and C++ library, and newer ones")
endif()
