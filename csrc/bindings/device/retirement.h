// Arrays of producers that know nothing of our stream (JAX among them) are given back when it has
// passed the kernels that read them: dropped earlier, their memory could serve somebody else while
// it is still being read.
#pragma once

#include <vector>

#include "bindings/device/device_import.h"

namespace normdrop {

void keep_until_passed(const Backend& backend, int device, void* stream,
                       std::vector<Imported> arrays);

}  // namespace normdrop
