# cmake -P cmake/has_toolkit.cmake: fails where a build would find no CUDA toolkit.
cmake_minimum_required(VERSION 3.24)
include(${CMAKE_CURRENT_LIST_DIR}/cuda_toolkit.cmake)
find_nvcc(nvcc)
if(NOT nvcc)
  message(FATAL_ERROR "no nvcc in ${nvcc_places}")
endif()
message(STATUS "${nvcc}")
