// Operations that the CUDA backend lacks: they say so.
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {

#define NORMDROP_NOT_YET(name, Arguments)                                             \
  void name(const Arguments&) {                                                       \
    throw DeviceError(#name " is not in the CUDA backend yet; pass a numpy.ndarray"); \
  }
NORMDROP_NOT_YET(rms_norm_forward, RmsNormForward)
NORMDROP_NOT_YET(rms_norm_backward, RmsNormBackward)
#undef NORMDROP_NOT_YET

}  // namespace normdrop::NORMDROP_DEVICE
