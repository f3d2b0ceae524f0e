# Finds a CUDA toolkit and tries it before CMake does: enable_language(CUDA) misses an nvcc that is
# not on PATH, and where a toolkit is broken it does not say how to build without one.

set(cuda_oldest_toolkit 12.0)  # the first with C++20
set(cpu_build "pip install . -C cmake.define.NORMDROP_CUDA=OFF")  # indented, or CMake breaks it

# The path of nvcc, or nothing, and in <result>_places where it was looked for. A compiler or a
# folder that the user names is the only place.
function(find_nvcc result)
  set(named "${CMAKE_CUDA_COMPILER}")
  if(NOT named AND NOT "$ENV{CUDACXX}" STREQUAL "")
    separate_arguments(words UNIX_COMMAND "$ENV{CUDACXX}")  # flags may follow the compiler
    list(GET words 0 named)
  endif()
  set(folders "${CUDAToolkit_ROOT}")
  if(NOT folders)
    set(folders "$ENV{CUDAToolkit_ROOT}")
  endif()

  if(named)
    find_program(nvcc NAMES "${named}" NO_CACHE)
    if(NOT nvcc)
      refuse_toolkit("${named}" "there is no such compiler (CMAKE_CUDA_COMPILER or CUDACXX)")
    endif()
  elseif(folders)
    set(places "CUDAToolkit_ROOT=${folders}")
    find_program(nvcc NAMES nvcc PATHS ${folders} PATH_SUFFIXES bin NO_DEFAULT_PATH NO_CACHE)
  else()
    set(places "CUDA_HOME, CUDA_PATH, PATH, /usr/local/cuda*, /opt/cuda")
    file(GLOB versions /usr/local/cuda-*)
    list(SORT versions COMPARE NATURAL ORDER DESCENDING)
    find_program(nvcc NAMES nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH
                 PATHS /usr/local/cuda /opt/cuda ${versions} PATH_SUFFIXES bin NO_CACHE)
  endif()
  if(NOT nvcc)
    set(nvcc "")
  endif()
  set(${result} "${nvcc}" PARENT_SCOPE)
  set(${result}_places "${places}" PARENT_SCOPE)
endfunction()

function(refuse_toolkit nvcc reason)
  message(FATAL_ERROR
    "NORMDROP_CUDA=${NORMDROP_CUDA}: the CUDA toolkit of ${nvcc} cannot be used: ${reason}\n"
    "Mend it, name another by CUDAToolkit_ROOT, or build for the CPU only:\n"
    "  ${cpu_build}")
endfunction()

function(refuse_missing_toolkit places)
  message(FATAL_ERROR
    "NORMDROP_CUDA=ON: no CUDA toolkit: no nvcc in ${places}\n"
    "Install one (tools/cuda-toolkit-from-wheels fetches one from PyPI), name its folder by "
    "CUDAToolkit_ROOT, or build for the CPU only:\n"
    "  ${cpu_build}")
endfunction()

function(read_toolkit_version nvcc result)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT text MATCHES "release [0-9.]+, V([0-9.]+)")
    refuse_toolkit("${nvcc}" "nvcc --version says\n${text}")
  endif()
  set(version "${CMAKE_MATCH_1}")
  if(version VERSION_LESS cuda_oldest_toolkit)
    refuse_toolkit("${nvcc}" "it is version ${version}, and ${cuda_oldest_toolkit} is the oldest "
                             "that compiles C++20")
  endif()
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

# Compiles, links and runs a program that lists the GPUs of this machine: 90;90. A toolkit without
# a part of its own, and one that does not support the host compiler, stop the build here.
function(try_toolkit nvcc version result)
  set(key "${nvcc} ${version} ${CMAKE_CUDA_HOST_COMPILER} $ENV{CUDAHOSTCXX} $ENV{NVCC_CCBIN}")
  if(NOT cuda_toolkit_tried STREQUAL key)
    set(folder "${CMAKE_BINARY_DIR}/CMakeFiles/cuda_devices")
    set(host_compiler "")
    if(CMAKE_CUDA_HOST_COMPILER)
      set(host_compiler -ccbin ${CMAKE_CUDA_HOST_COMPILER})
    elseif(DEFINED ENV{CUDAHOSTCXX})
      set(host_compiler -ccbin $ENV{CUDAHOSTCXX})
    endif()
    file(MAKE_DIRECTORY "${folder}")
    execute_process(
      COMMAND ${nvcc} -std=c++20 -cudart static ${host_compiler}
              "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cuda_devices.cu" -o "${folder}/cuda_devices"
      WORKING_DIRECTORY "${folder}" RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
    if(failed)
      refuse_toolkit("${nvcc}" "a small program does not compile with it\n${text}")
    endif()
    set(cuda_toolkit_tried "${key}" CACHE INTERNAL "nvcc and host compiler that work")
  endif()
  execute_process(COMMAND "${CMAKE_BINARY_DIR}/CMakeFiles/cuda_devices/cuda_devices"
                  RESULT_VARIABLE failed OUTPUT_VARIABLE devices ERROR_QUIET)
  if(failed)  # no driver
    set(devices "")
  endif()
  set(${result} "${devices}" PARENT_SCOPE)
endfunction()
