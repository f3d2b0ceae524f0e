# build_jobs: how many compilers run at once. cmake --build (and so pip) takes
# CMAKE_BUILD_PARALLEL_LEVEL by itself; MAX_JOBS, which packages with CUDA code often know, becomes a
# pool of Ninja's. Make has no pools and ignores it.
cmake_host_system_information(RESULT build_jobs QUERY NUMBER_OF_LOGICAL_CORES)
if("$ENV{CMAKE_BUILD_PARALLEL_LEVEL}" MATCHES "^[1-9][0-9]*$")
  set(build_jobs $ENV{CMAKE_BUILD_PARALLEL_LEVEL})
endif()
if(NOT "$ENV{MAX_JOBS}" STREQUAL "")
  if(NOT "$ENV{MAX_JOBS}" MATCHES "^[1-9][0-9]*$")
    message(FATAL_ERROR "MAX_JOBS must be a number of processes, got '$ENV{MAX_JOBS}'")
  endif()
  set(build_jobs $ENV{MAX_JOBS})
  set_property(GLOBAL PROPERTY JOB_POOLS max_jobs=${build_jobs})
  set(CMAKE_JOB_POOL_COMPILE max_jobs)
  set(CMAKE_JOB_POOL_LINK max_jobs)
endif()
