# For which GPUs a CUDA build holds code. Functions only, so that tests can call them by cmake -P.

# The architectures that an nvcc knows, as numbers: 75;80;...
function(read_known_architectures nvcc result)
  execute_process(COMMAND ${nvcc} --list-gpu-arch OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCHALL "compute_[0-9]+" names "${text}")
  list(TRANSFORM names REPLACE "compute_" "")
  list(SORT names COMPARE NATURAL)
  set(${result} "${names}" PARENT_SCOPE)
endfunction()

# What is built where neither the user nor a GPU in the machine says for what. Code for x.0 also
# runs on every x.y of a desktop or a server; a Jetson (8.7, 11.0) is its own, and finds its own
# GPU when built there.
#   75  Turing: T4, RTX 20; the oldest that CUDA 13 compiles for
#   80  Ampere and Ada: A100, and with it A10, RTX 30, L4, RTX 40
#   90  Hopper: H100, H200; the first with clusters of blocks
#   100 Blackwell in servers: B200, B300
#   120 Blackwell elsewhere: RTX 50, RTX PRO, DGX Spark
# and the first of a generation that came later, where the toolkit knows one. PTX of the last lets
# the driver compile for GPUs that are newer than the toolkit.
function(list_default_architectures known result)
  list(GET known -1 newest)
  math(EXPR newest "${newest} / 10 * 10")
  set(wanted 75 80 90 100 120 ${newest})
  list(REMOVE_DUPLICATES wanted)
  set(chosen "")
  foreach(architecture IN LISTS wanted)
    if(architecture IN_LIST known)
      list(APPEND chosen ${architecture})
    endif()
  endforeach()
  list(SORT chosen COMPARE NATURAL)
  list(GET chosen -1 last)
  list(TRANSFORM chosen APPEND "-real")
  set(${result} "${chosen};${last}-virtual" PARENT_SCOPE)
endfunction()

# `requested` may be a list, native, all, all-major or nothing; `present` holds the GPUs of this
# machine. The words are resolved here: CMake's own `native` silently builds for one old
# architecture where there is no GPU.
function(choose_architectures requested known present result)
  set(usable_here "")
  foreach(architecture IN LISTS present)
    if(architecture IN_LIST known)
      list(APPEND usable_here ${architecture}-real)
    endif()
  endforeach()
  list(REMOVE_DUPLICATES usable_here)

  if(requested STREQUAL "native")
    if(NOT usable_here)
      list(JOIN known ", " numbers)
      message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES=native: this machine has no GPU that this "
                          "toolkit compiles for; name some of ${numbers}")
    endif()
    set(chosen "${usable_here}")
  elseif(requested STREQUAL "all")
    set(chosen "${known}")
  elseif(requested STREQUAL "all-major")
    set(chosen "${known}")
    list(FILTER chosen INCLUDE REGEX "0$")
  elseif(requested)
    check_architectures("${requested}" "${known}")
    set(chosen "${requested}")
  elseif(usable_here)
    set(chosen "${usable_here}")
  else()
    list_default_architectures("${known}" chosen)
  endif()
  set(${result} "${chosen}" PARENT_SCOPE)
endfunction()

# What CMake's summary says of the choice. Where nobody named any and no GPU is here to choose by,
# that is how to compile for fewer: each takes as long as the first.
function(describe_architectures requested present chosen result)
  list(JOIN chosen ", " text)
  if(requested)
    string(APPEND text ", as CMAKE_CUDA_ARCHITECTURES or CUDAARCHS says")
  elseif(present)
    string(APPEND text ", of this machine")
  else()
    string(APPEND text ", since no GPU is here to choose by: 12 to 24 minutes on two processors. "
      "For one, in a third of the time: -C cmake.define.CMAKE_CUDA_ARCHITECTURES=90 with pip, "
      "-DCMAKE_CUDA_ARCHITECTURES=90 with CMake")
  endif()
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

function(check_architectures requested known)
  foreach(architecture IN LISTS requested)
    if(NOT architecture MATCHES "^([0-9]+)[af]?(-real|-virtual)?$")
      message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES must be numbers such as 90 or 90-real, or "
                          "native, all or all-major, got '${architecture}'")
    endif()
    if(NOT CMAKE_MATCH_1 IN_LIST known)
      list(JOIN known ", " numbers)
      message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES must be among ${numbers} for this toolkit, "
                          "got '${architecture}'")
    endif()
  endforeach()
endfunction()
