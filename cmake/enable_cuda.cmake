# With a toolkit: enables CUDA and sets cuda_toolkit_version and CMAKE_CUDA_ARCHITECTURES. Without
# one: leaves cuda_toolkit_version empty, or stops where NORMDROP_CUDA is ON. Languages are enabled
# at file scope only, hence an include and no function.
include(${CMAKE_CURRENT_LIST_DIR}/cuda_toolkit.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/cuda_architectures.cmake)

find_nvcc(nvcc)
if(nvcc)
  # One compiler for both sides, unless the user has another for nvcc.
  if(NOT CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX} AND NOT DEFINED ENV{NVCC_CCBIN})
    set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
  endif()
  read_toolkit_version("${nvcc}" cuda_toolkit_version)
  read_known_architectures("${nvcc}" known_architectures)
  if(NOT known_architectures)
    refuse_toolkit("${nvcc}" "nvcc --list-gpu-arch names none")
  endif()
  try_toolkit("${nvcc}" "${cuda_toolkit_version}" present_architectures)
  set(requested_architectures "$ENV{CUDAARCHS}")
  if(DEFINED CACHE{CMAKE_CUDA_ARCHITECTURES})
    set(requested_architectures "$CACHE{CMAKE_CUDA_ARCHITECTURES}")
  endif()
  choose_architectures("${requested_architectures}" "${known_architectures}"
                       "${present_architectures}" CMAKE_CUDA_ARCHITECTURES)
  if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
    set(CMAKE_CUDA_COMPILER "${nvcc}")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit)  # that of the compiler, for the static run time
  if(NOT TARGET CUDA::cudart_static)
    refuse_toolkit("${nvcc}" "CMake finds no libcudart.so and libcudart_static.a in it")
  endif()
  describe_architectures("${requested_architectures}" "${present_architectures}"
                         "${CMAKE_CUDA_ARCHITECTURES}" architectures_text)
  message(STATUS "CUDA: toolkit ${cuda_toolkit_version}, for ${architectures_text}")
elseif(NORMDROP_CUDA STREQUAL "ON")
  refuse_missing_toolkit("${nvcc_places}")
else()
  message(STATUS "CUDA: building for the CPU only, no nvcc in ${nvcc_places}")
endif()
