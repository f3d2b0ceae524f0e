// All that a kernel file may use, under nvcc. csrc/cuda/emulation/platform.h is its twin for a host
// without a GPU; the include path chooses between them.
#pragma once

#include "cuda/device/cluster.h"
#include "cuda/device/half.h"
#include "cuda/device/launch.h"
#include "cuda/device/shared_memory.h"
#include "cuda/device/words.h"
#include "ops/device.h"
