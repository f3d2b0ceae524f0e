// All that a kernel file may use, on a host without a GPU. csrc/cuda/device/platform.h is its twin
// for nvcc; the include path chooses between them.
#pragma once

#include "cuda/emulation/barrier.h"
#include "cuda/emulation/half.h"
#include "cuda/emulation/keywords.h"
#include "cuda/emulation/launch.h"
#include "cuda/emulation/shared_memory.h"
#include "cuda/emulation/warp.h"
#include "cuda/emulation/words.h"
#include "ops/device.h"
